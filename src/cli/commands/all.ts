import type { Command } from 'commander';
import type { World } from '../world.ts';
import { addApply } from './apply.ts';
import { addAudit } from './audit.ts';
import { addCa } from './ca.ts';
import { addCheck } from './check.ts';
import { addCompletion } from './completion.ts';
import { addContext } from './context.ts';
import { addDelete } from './delete.ts';
import { addDiff } from './diff.ts';
import { addEntry } from './entry.ts';
import { addFederation } from './federation.ts';
import { addGet } from './get.ts';
import { addIdentity } from './identity.ts';
import { addJoinToken } from './join-token.ts';
import { addNode } from './node.ts';
import { addPolicy } from './policy.ts';
import { addProxies } from './proxies.ts';
import { addQuarantine } from './quarantine.ts';
import { addToken } from './token.ts';
import { addVersion } from './version.ts';
import { addWhoAmI } from './whoami.ts';

/** Every command that speaks to a control plane, in the order of the help. `failed`: the exit status is 1, or as it says. */
export function addCommands(program: Command, world: World, failed: (code?: number) => void): void {
  addCheck(program, world, failed);
  addApply(program, world, failed);
  addDiff(program, world, failed);
  addGet(program, world);
  addDelete(program, world, failed);
  addAudit(program, world);
  addPolicy(program, world, failed);
  addProxies(program, world);
  addQuarantine(program, world, failed);
  addEntry(program, world, failed);
  addJoinToken(program, world);
  addIdentity(program, world, failed);
  addNode(program, world, failed);
  addFederation(program, world, failed);
  addCa(program, world, failed);
  addToken(program, world, failed);
  addWhoAmI(program, world);
  addContext(program, world);
  addCompletion(program, world);
  addVersion(program, world);
}
