import { createHash } from 'node:crypto';
import type { Logger } from '../../src/base/log.ts';
import { silentLogger } from '../../src/base/log.ts';
import type { AuditLog } from '../../src/control/ledger/log/audit-log.ts';
import { LogFiles } from '../../src/control/ledger/log/log-files.ts';
import type { Sequencer } from '../../src/control/ledger/log/sequencer.ts';
import type { AskWitness } from '../../src/control/ledger/log/witness-client.ts';
import type { WitnessedNote, WitnessLimits } from '../../src/control/ledger/log/witnesses.ts';
import { Witnesses } from '../../src/control/ledger/log/witnesses.ts';
import type { LogPolicy } from '../../src/core/audit/log-policy.ts';
import { parseLogPolicy } from '../../src/core/audit/log-policy.ts';
import { LogTree } from '../../src/core/audit/log-tree.ts';
import { formatVkey } from '../../src/core/audit/note-key.ts';
import { splitTile } from '../../src/core/audit/tile.ts';
import type { WitnessOptions } from '../../src/node/witness/witness.ts';
import { Witness } from '../../src/node/witness/witness.ts';
import { WitnessFiles } from '../../src/node/witness/witness-files.ts';
import type { LogWorld } from './audit-log.ts';
import { logKeys, openTestLog } from './audit-log.ts';

/** Seeds that are the same in every run, and others for every name. */
export const seedOf = (name: string) => () => createHash('sha256').update(name).digest();

/** What a witness remembers for as long as a test runs. */
function memoryFiles(name: string): WitnessOptions['files'] {
  const notes = new Map<string, Buffer>();
  return {
    seed: seedOf(name)(),
    origins: [],
    load: async (origin) => notes.get(origin),
    save: async (origin, note) => void notes.set(origin, note),
    keepFork: async () => undefined,
  };
}

/** A witness of the test log, in this directory; without one, in memory. */
export async function openWitness(
  directory: string | undefined,
  o: { readonly name?: string; readonly now?: () => number; readonly logger?: Logger } = {},
): Promise<Witness> {
  const { name = 'witness.example/one', now = () => Date.UTC(2026, 0, 5), logger = silentLogger } = o;
  const files = directory === undefined ? memoryFiles(name) : await WitnessFiles.open(directory, name, seedOf(name));
  const logs = (await logKeys()).publicKeys.map((key) => ({ key, url: undefined }));
  return Witness.open({ name, files, logs, now, logger });
}

/** An asker that knows each witness by its URL, and speaks with it without a network. */
export function askDirectly(witnesses: Readonly<Record<string, Pick<Witness, 'addCheckpoint'>>>): AskWitness {
  return async (url, request) => {
    const witness = witnesses[url];
    if (witness === undefined) throw new Error('nobody there');
    const { status, body } = await witness.addCheckpoint(request);
    if (status === 200) return { kind: 'cosigned', lines: Buffer.from(body) };
    if (status === 409) return { kind: 'stale', size: Number(body) };
    if (status === 422) return { kind: 'contradicted' };
    return { kind: 'refused', why: `It answered ${status}.` };
  };
}

/** The lines of witnesses by name and URL, with a quorum of so many of them. */
export async function witnessPolicy(
  witnesses: Readonly<Record<string, Pick<Witness, 'vkey'>>>,
  quorum: string,
): Promise<LogPolicy> {
  const urls = Object.keys(witnesses);
  const lines = [
    ...(await logKeys()).publicKeys.map((key) => `log ${formatVkey(key)}`),
    ...urls.map((url, i) => `witness w${i + 1} ${witnesses[url]?.vkey} ${url}`),
    quorum === 'none' ? '' : `group enough ${quorum} ${urls.map((_, i) => `w${i + 1}`).join(' ')}`,
    `quorum ${quorum === 'none' ? 'none' : 'enough'}`,
  ];
  return parseLogPolicy(Buffer.from(`${lines.join('\n')}\n`));
}

export class MemoryNote implements WitnessedNote {
  note: Buffer | undefined;

  load(): Promise<Buffer | undefined> {
    return Promise.resolve(this.note);
  }

  save(note: Buffer): Promise<void> {
    this.note = note;
    return Promise.resolve();
  }
}

export interface WitnessedOptions {
  readonly policy: LogPolicy;
  readonly ask: AskWitness;
  readonly saved?: WitnessedNote;
  readonly limits?: Partial<WitnessLimits>;
  readonly logger?: Logger;
}

export interface WitnessedLog {
  readonly log: AuditLog;
  readonly sequencer: Sequencer;
  readonly witnesses: Witnesses;
}

/** The test log, whose checkpoints are cosigned. */
export async function openWitnessedLog(world: LogWorld, o: WitnessedOptions): Promise<WitnessedLog> {
  let witnesses: Witnesses | undefined;
  const files = new LogFiles(world.files);
  const tree = (size: number) => new LogTree(async (id) => splitTile(await files.tile(id), id.width), size);
  const { log, sequencer } = await openTestLog(world, async ({ published }) => {
    witnesses = await Witnesses.open({
      saved: new MemoryNote(),
      logger: silentLogger,
      ...o,
      published,
      consistency: (size, to) => tree(to.checkpoint.size).consistency(size),
      rootAt: (size) => tree(size).root(),
      keys: await logKeys(),
      clock: world.clock,
    });
    return witnesses;
  });
  if (witnesses === undefined) throw new Error('no witnesses');
  return { log, sequencer, witnesses };
}
