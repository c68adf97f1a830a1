import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import { formatVkey } from '../../../src/core/audit/note-key.ts';
import { createWorld } from '../../edge/rest/world.ts';
import { logKeys, logWorld, openTestLog } from '../../support/audit-log.ts';
import { askDirectly, openWitness, openWitnessedLog, witnessPolicy } from '../../support/witness.ts';

interface Cosigners {
  readonly vkeys: readonly string[];
  readonly quorum: number;
}

interface Verifier {
  verify(get: (path: string) => Buffer | undefined, vkeys: readonly string[], witnesses?: Cosigners): number;
  download(url: string, vkeys: readonly string[]): Promise<Map<string, Buffer>>;
}

const script = join(import.meta.dirname, 'verify.mjs');
const run = promisify(execFile);
const SIZE = 300;
let verifier: Verifier;
let vkeys: readonly string[];

beforeAll(async () => {
  verifier = (await import(script)) as Verifier;
  vkeys = (await logKeys()).publicKeys.map(formatVkey);
});

async function serve(size = SIZE) {
  const sources = logWorld();
  const { log, sequencer } = await openTestLog(sources);
  sources.ledger.addMany(size);
  while (await sequencer.step());
  const world = await createWorld({ deps: { log, logIsPublic: true } });
  const { url } = await world.listen();
  return { url: `${url}/log`, sequencer, ...sources };
}

/** Numbers that are the same in every run: what fails can be run again. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

describe('a verifier that knows the public formats and nothing of Writ', () => {
  it('shares no code with src', () => {
    const imports = readFileSync(script, 'utf8').match(/from '[^']+'/g) ?? [];
    expect(imports.sort()).toEqual(["from 'node:crypto'", "from 'node:url'"]);
  });

  it.each([1, 255, 256, 257, SIZE])(
    'audit 1, 2, 6 to 11, 13 to 20: accepts a log of %i batches over HTTP',
    async (size) => {
      const { url } = await serve(size);
      const files = await verifier.download(url, vkeys);
      expect(verifier.verify((path) => files.get(path), vkeys)).toBe(size);
    },
  );

  it('accepts the log as a program of its own', async () => {
    const { url } = await serve(3);
    expect((await run(process.execPath, [script, url, ...vkeys])).stdout).toBe('3\n');
  });

  it('audit 8: accepts every log that it has grown through, by the partial tiles that are still served', async () => {
    const sources = logWorld();
    const { log, sequencer } = await openTestLog(sources);
    const world = await createWorld({ deps: { log, logIsPublic: true } });
    const { url } = await world.listen();
    for (const count of [3, 252, 2, 1]) {
      sources.ledger.addMany(count);
      await sequencer.step();
      const files = await verifier.download(`${url}/log`, vkeys);
      expect(verifier.verify((path) => files.get(path), vkeys)).toBe(sources.ledger.batches.length);
    }
  });

  it('audit 19, 21: counts the witnesses that have cosigned, and rejects every change of what they say', async () => {
    const [a, b, away] = await Promise.all(
      ['a', 'b', 'away'].map((name) => openWitness(undefined, { name: `witness.example/${name}` })),
    );
    if (a === undefined || b === undefined || away === undefined) throw new Error('no witnesses');
    const policy = await witnessPolicy({ 'https://a': a, 'https://b': b, 'https://away': away }, '2');
    const sources = logWorld();
    const { log, sequencer, witnesses } = await openWitnessedLog(sources, {
      policy,
      ask: askDirectly({ 'https://a': a, 'https://b': b }),
    });
    sources.ledger.addMany(3);
    await sequencer.step();
    const stop = new AbortController();
    const running = witnesses.run(stop.signal);
    // Both, not only the first two signatures of the log.
    const has = () => ['/a ', '/b '].every((name) => log.served.current.note.includes(`witness.example${name}`));
    for (let i = 0; i < 100 && !has(); i++) await sources.clock.advance(100);
    stop.abort();
    await running;
    const { url } = await (await createWorld({ deps: { log, logIsPublic: true } })).listen();
    const files = await verifier.download(`${url}/log`, vkeys);
    const trusted = [a.vkey, b.vkey, away.vkey];
    const check = (quorum: number, changed?: Buffer) =>
      verifier.verify((path) => (path === 'checkpoint' ? (changed ?? files.get(path)) : files.get(path)), vkeys, {
        vkeys: trusted,
        quorum,
      });
    expect(check(2)).toBe(3);
    expect(() => check(3)).toThrow('not cosigned by enough witnesses');
    const note = files.get('checkpoint') ?? Buffer.alloc(0);
    const first = note.indexOf('\u2014 witness.example/');
    const random = numbers(19);
    for (let i = 0; i < 300; i++) {
      const changed = Buffer.from(note);
      const at = first + random(note.length - first);
      changed.writeUInt8((changed[at] ?? 0) ^ (1 + random(255)), at);
      expect(() => check(2, changed), `byte ${at}`).toThrow();
    }
  });

  it('rejects 1,000 random mutations of it', async () => {
    const { url } = await serve();
    const files = await verifier.download(url, vkeys);
    const names = [...files.keys()];
    const below = numbers(20_260_101);
    const accepted: string[] = [];
    for (let i = 0; i < 1000; i++) {
      const name = names[below(names.length)] as string;
      const bytes = files.get(name) as Buffer;
      const at = below(bytes.length);
      const kind = (['flip', 'cut', 'insert', 'truncate', 'remove', 'swap'] as const)[below(6)];
      const bit = 1 << below(8);
      const mutated = mutate(kind ?? 'flip', bytes, { at, bit });
      if (mutated?.equals(bytes)) continue;
      const get = (path: string) => (path === name ? mutated : files.get(path));
      try {
        verifier.verify(get, vkeys);
        accepted.push(`${kind} ${name} at ${at}`);
      } catch {
        // As it must.
      }
    }
    expect(accepted).toEqual([]);
  });

  it('rejects a log that is signed by other keys', async () => {
    const { url } = await serve(2);
    const files = await verifier.download(url, vkeys);
    const other = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW';
    expect(() => verifier.verify((path) => files.get(path), [other])).toThrow('not signed by all keys');
  });
});

type Kind = 'flip' | 'cut' | 'insert' | 'truncate' | 'remove' | 'swap';

function mutate(kind: Kind, bytes: Buffer, { at, bit }: { at: number; bit: number }): Buffer | undefined {
  const changed = Buffer.from(bytes);
  switch (kind) {
    case 'flip':
      changed.writeUInt8((bytes[at] ?? 0) ^ bit, at);
      return changed;
    case 'cut':
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1)]);
    case 'insert':
      return Buffer.concat([bytes.subarray(0, at), Buffer.of(bit), bytes.subarray(at)]);
    case 'truncate':
      return bytes.subarray(0, at);
    case 'remove':
      return undefined;
    case 'swap':
      changed.writeUInt8(bytes[bytes.length - 1 - at] ?? 0, at);
      return changed;
  }
}
