import { AppError } from '../base/errors.ts';
import type { Call, Client } from './client.ts';
import { dryRun } from './dry-run.ts';
import type { ChangeObject } from './policy-change.ts';
import { nameOf } from './policy-change.ts';
import { safe } from './style.ts';
import type { World } from './world.ts';

export interface Proposal {
  /** Texts of the documents to put. */
  readonly put: readonly string[];
  readonly delete: readonly { readonly kind: string; readonly namespace: string; readonly name: string }[];
  readonly reason: string | undefined;
  readonly dryRun: boolean;
}

/** Writes a change down instead of putting it into force. Throws `usage` without a reason. */
export async function propose(client: Client, proposal: Proposal, world: World): Promise<void> {
  const { body } = await client.call<ChangeObject>(proposing(proposal));
  const documents = body.documents.map((document) => safe(nameOf(document))).join(', ');
  if (proposal.dryRun) {
    world.stdout(`policy change proposed: ${documents} (dry run)\n`);
    return;
  }
  world.stdout(`policy change ${body.revision} proposed: ${documents}\n`);
  world.stderr(
    `It is in force nowhere yet. Look at it: writ policy changes ${body.revision}\n` +
      `Then: writ policy approve ${body.revision} (somebody else, where the namespace asks for that), and ` +
      `writ policy rollout ${body.revision}\n`,
  );
}

export function proposing(proposal: Proposal): Call {
  const { put, delete: deletions, reason } = proposal;
  if (reason === undefined) {
    throw new AppError('usage', 'Whoever is to approve a change wants to know why. Add --reason TEXT.');
  }
  const json = { put, ...(deletions.length > 0 && { delete: deletions }), reason };
  return { method: 'POST', path: '/v1/policy-changes', json, ...dryRun(proposal) };
}
