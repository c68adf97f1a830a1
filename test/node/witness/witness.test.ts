import { randomBytes } from 'node:crypto';
import { chmod, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { encodeAddCheckpoint } from '../../../src/core/audit/add-checkpoint.ts';
import type { Checkpoint } from '../../../src/core/audit/checkpoint.ts';
import { EMPTY_ROOT, encodeCheckpoint, parseCheckpoint } from '../../../src/core/audit/checkpoint.ts';
import { cosignatureTime, verifierOf } from '../../../src/core/audit/cosignature.ts';
import { consistencyProof, leafHash, rootOfHashes } from '../../../src/core/audit/merkle.ts';
import { encodeNote, parseNote, signNote, verifyNote } from '../../../src/core/audit/note.ts';
import { ed25519Signer, parseVkey } from '../../../src/core/audit/note-key.ts';
import { Witness } from '../../../src/node/witness/witness.ts';
import { nameOf, WitnessFiles } from '../../../src/node/witness/witness-files.ts';
import { logKeys, origin } from '../../support/audit-log.ts';
import { expectAppError } from '../../support/errors.ts';
import { tempDirectory } from '../../support/temp.ts';
import { openWitness, seedOf } from '../../support/witness.ts';

/** Two histories that part behind the fifth leaf. */
const leaves = Array.from({ length: 40 }, (_, i) => leafHash(Buffer.from(`leaf ${i}`)));
const forked = leaves.map((hash, i) => (i < 5 ? hash : leafHash(Buffer.from(`other ${i}`))));

function at(size: number, hashes: readonly Buffer[] = leaves): Checkpoint {
  return { origin, size, root: rootOfHashes(hashes.slice(0, size)) };
}

async function signed(checkpoint: Checkpoint): Promise<Buffer> {
  return encodeNote(signNote(encodeCheckpoint(checkpoint), (await logKeys()).signers));
}

async function request(oldSize: number, size: number, hashes: readonly Buffer[] = leaves): Promise<Buffer> {
  const proof = consistencyProof(hashes.slice(0, size), oldSize);
  return encodeAddCheckpoint({ oldSize, proof, checkpoint: await signed(at(size, hashes)) });
}

describe('a witness', () => {
  it('audit 21: cosigns a log that grows, with the time, and shows what it has cosigned', async () => {
    const witness = await openWitness(await tempDirectory());
    const verifier = verifierOf(parseVkey(witness.vkey));
    for (const [oldSize, size] of [
      [0, 0],
      [0, 3],
      [3, 3],
      [3, 17],
      [17, 32],
    ] as const) {
      const reply = await witness.addCheckpoint(await request(oldSize, size));
      expect(reply).toMatchObject({ status: 200, contentType: 'text/plain; charset=utf-8' });
      expect(reply.body).toMatch(/^— witness\.example\/one \S+\n$/);
      const note = parseNote(Buffer.concat([await signed(at(size)), Buffer.from(reply.body)]));
      expect(verifyNote(note, [verifier])).toHaveLength(1);
      expect(cosignatureTime(note.signatures.at(-1)?.signature ?? Buffer.alloc(8))).toBe(Date.UTC(2026, 0, 5));
      const latest = parseNote(witness.latest(nameOf(origin)) ?? Buffer.alloc(0));
      expect(parseCheckpoint(latest.text)).toEqual(at(size));
      expect(verifyNote(latest, [verifier])).toHaveLength(1);
    }
    expect(witness.latest(nameOf('another'))).toBeUndefined();
  });

  it('audit 21: answers 404 for a log that it does not follow, and 403 without a signature of the log', async () => {
    const witness = await openWitness(await tempDirectory());
    const stranger = { ...at(3), origin: 'example.org/other' };
    const other = encodeNote(signNote(encodeCheckpoint(stranger), [ed25519Signer(stranger.origin, randomBytes(32))]));
    expect(
      await witness.addCheckpoint(encodeAddCheckpoint({ oldSize: 0, proof: [], checkpoint: other })),
    ).toMatchObject({ status: 404 });
    const forged = encodeNote(signNote(encodeCheckpoint(at(3)), [ed25519Signer(origin, randomBytes(32))]));
    expect(
      await witness.addCheckpoint(encodeAddCheckpoint({ oldSize: 0, proof: [], checkpoint: forged })),
    ).toMatchObject({ status: 403 });
    // A signature of the log, of something else.
    const moved = parseNote(await signed(at(4)));
    const swapped = encodeNote({ text: encodeCheckpoint(at(3)), signatures: moved.signatures });
    expect(
      await witness.addCheckpoint(encodeAddCheckpoint({ oldSize: 0, proof: [], checkpoint: swapped })),
    ).toMatchObject({ status: 403 });
    expect(witness.latest(nameOf(origin))).toBeUndefined();
  });

  it('audit 21: answers 400 when the old size is larger than the new one, or nothing can be read', async () => {
    const witness = await openWitness(await tempDirectory());
    const backwards = encodeAddCheckpoint({ oldSize: 4, proof: [], checkpoint: await signed(at(3)) });
    expect(await witness.addCheckpoint(backwards)).toMatchObject({ status: 400 });
    expect(await witness.addCheckpoint(Buffer.from('hello'))).toMatchObject({ status: 400 });
    expect(await witness.addCheckpoint(Buffer.from('old 0\n\nno note\n'))).toMatchObject({ status: 400 });
  });

  it('audit 21: answers 409 with the size that it has cosigned to whoever asks from elsewhere', async () => {
    const witness = await openWitness(await tempDirectory());
    await witness.addCheckpoint(await request(0, 5));
    const stale = { status: 409, contentType: 'text/x.tlog.size', body: '5\n' };
    expect(await witness.addCheckpoint(await request(0, 9))).toEqual(stale);
    expect(await witness.addCheckpoint(await request(3, 9))).toEqual(stale);
    expect(await witness.addCheckpoint(await request(7, 9))).toEqual(stale);
    // A log that was rolled back.
    expect(await witness.addCheckpoint(await request(0, 4))).toEqual(stale);
    expect(await witness.addCheckpoint(await request(5, 9))).toMatchObject({ status: 200 });
  });

  it('audit 21: answers 422 when the proof shows nothing, and says what it has cosigned last', async () => {
    const witness = await openWitness(await tempDirectory());
    await witness.addCheckpoint(await request(0, 6));
    const other = await witness.addCheckpoint(await request(6, 12, forked));
    expect(other.status).toBe(422);
    expect(other.body).toContain(witness.latest(nameOf(origin))?.toString());
    const unproved = encodeAddCheckpoint({ oldSize: 6, proof: [], checkpoint: await signed(at(12)) });
    expect(await witness.addCheckpoint(unproved)).toMatchObject({ status: 422 });
    const proof = consistencyProof(leaves.slice(0, 12), 6);
    const second = await openWitness(await tempDirectory());
    const proved = encodeAddCheckpoint({ oldSize: 0, proof, checkpoint: await signed(at(12)) });
    expect(await second.addCheckpoint(proved)).toMatchObject({ status: 422 });
    expect(await witness.addCheckpoint(await request(6, 12))).toMatchObject({ status: 200 });
  });

  it('audit T29: keeps a second history that the log has signed as evidence, and does not cosign it', async () => {
    const directory = await tempDirectory();
    const witness = await openWitness(directory);
    await witness.addCheckpoint(await request(0, 6));
    for (const oldSize of [0, 6]) {
      const reply = await witness.addCheckpoint(await request(oldSize, 6, forked));
      expect(reply).toMatchObject({ status: 422 });
      expect(reply.body).toMatch(/^The log has signed another history of the same size\.\n/);
    }
    const evidence = (await readdir(directory)).filter((name) => name.startsWith('fork-'));
    expect(evidence).toEqual([expect.stringMatching(`^fork-${nameOf(origin)}-[0-9a-f]{16}$`)]);
    expect(parseNote(await readFile(join(directory, evidence[0] ?? ''))).text).toBe(encodeCheckpoint(at(6, forked)));
    expect(parseNote(witness.latest(nameOf(origin)) ?? Buffer.alloc(0)).text).toBe(encodeCheckpoint(at(6)));
  });

  it('keeps no more evidence than there is a use for', async () => {
    const directory = await tempDirectory();
    const witness = await openWitness(directory);
    await witness.addCheckpoint(await request(0, 6));
    for (let i = 0; i < 20; i++) {
      const other = { ...at(6), root: leafHash(Buffer.from([i])) };
      const body = encodeAddCheckpoint({ oldSize: 6, proof: [], checkpoint: await signed(other) });
      expect(await witness.addCheckpoint(body)).toMatchObject({ status: 422 });
    }
    expect((await readdir(directory)).filter((name) => name.startsWith('fork-'))).toHaveLength(16);
  });

  it('remembers over a restart, with the same key', async () => {
    const directory = await tempDirectory();
    const before = await openWitness(directory);
    await before.addCheckpoint(await request(0, 6));
    const witness = await openWitness(directory);
    expect(witness.vkey).toBe(before.vkey);
    expect(witness.latest(nameOf(origin))).toEqual(before.latest(nameOf(origin)));
    expect(await witness.addCheckpoint(await request(0, 6, forked))).toMatchObject({ status: 422 });
    expect(await witness.addCheckpoint(await request(0, 9))).toMatchObject({ status: 409, body: '6\n' });
    expect(await witness.addCheckpoint(await request(6, 9))).toMatchObject({ status: 200 });
  });

  it('does not go on when it has forgotten what it has cosigned, or that was changed', async () => {
    const directory = await tempDirectory();
    const witness = await openWitness(directory);
    await witness.addCheckpoint(await request(0, 6));
    const file = join(directory, nameOf(origin));
    // The older one, signed by the log, but never cosigned.
    await writeFile(file, await signed(at(3)));
    await expectAppError(openWitness(directory), 'incompatible-data', /damaged\. Give it a new directory/);
    await rm(file);
    await expectAppError(openWitness(directory), 'incompatible-data', /has forgotten what it has cosigned/);
    await writeFile(join(directory, 'witness.json'), '{}', { mode: 0o600 });
    await expectAppError(openWitness(directory), 'incompatible-data', /witness\.json is damaged/);
  });

  it('keeps its key from others, and a directory is of one name', async () => {
    const directory = await tempDirectory();
    await openWitness(directory);
    await expectAppError(
      openWitness(directory, { name: 'witness.example/two' }),
      'usage',
      /of the witness witness\.example\/one/,
    );
    await chmod(join(directory, 'witness.json'), 0o644);
    await expectAppError(openWitness(directory), 'usage', /can be read by others/);
  });

  it('audit 21: cosigns nothing that it could not write down', async () => {
    const directory = await tempDirectory();
    const files = await WitnessFiles.open(directory, 'witness.example/one', seedOf('witness.example/one'));
    const logs = (await logKeys()).publicKeys.map((key) => ({ key, url: undefined }));
    let fails = false;
    const failing = {
      seed: files.seed,
      origins: files.origins,
      load: (name: string) => files.load(name),
      keepFork: async () => undefined,
      save: async (name: string, note: Buffer) => {
        if (fails) throw new Error('ENOSPC');
        await files.save(name, note);
      },
    };
    const witness = await Witness.open({
      name: 'witness.example/one',
      files: failing,
      logs,
      now: () => 0,
      logger: silentLogger,
    });
    await witness.addCheckpoint(await request(0, 6));
    fails = true;
    await expect(witness.addCheckpoint(await request(6, 9))).rejects.toThrow('ENOSPC');
    fails = false;
    // It is where it was: another continuation of the six may come.
    expect(await witness.addCheckpoint(await request(6, 8))).toMatchObject({ status: 200 });
  });

  it('audit 21: of requests that come at once, one decides what the next one meets', async () => {
    const witness = await openWitness(await tempDirectory());
    await witness.addCheckpoint(await request(0, 5));
    const bodies = [await request(5, 8, leaves), await request(5, 9, forked), await request(5, 12, leaves)];
    const replies = await Promise.all(bodies.map((body) => witness.addCheckpoint(body)));
    expect(replies.map(({ status }) => status)).toEqual([200, 409, 409]);
    const many = await Promise.all(
      Array.from({ length: 40 }, () => witness.addCheckpoint(bodies[2] ?? Buffer.alloc(0))),
    );
    expect(many.filter(({ status }) => status === 429)).toHaveLength(8);
  });

  it('audit 21: whatever it is asked, in whatever order and over restarts, it cosigns one history', async () => {
    const step = fc.record({
      history: fc.constantFrom(leaves, forked),
      oldSize: fc.nat(12),
      size: fc.nat(12),
      restart: fc.boolean(),
      follows: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        const directory = await tempDirectory();
        let witness = await openWitness(directory);
        const cosigned: Checkpoint[] = [];
        for (const { history, oldSize, size, restart, follows } of steps) {
          if (restart) witness = await openWitness(directory);
          const old = follows ? (cosigned.at(-1)?.size ?? 0) : oldSize;
          const proof = old <= size ? consistencyProof(history.slice(0, size), old) : [];
          const body = encodeAddCheckpoint({ oldSize: old, proof, checkpoint: await signed(at(size, history)) });
          if ((await witness.addCheckpoint(body)).status === 200) cosigned.push(at(size, history));
        }
        const isOf = (history: readonly Buffer[]) =>
          cosigned.every(({ size, root }) => root.equals(size === 0 ? EMPTY_ROOT : at(size, history).root));
        expect(isOf(leaves) || isOf(forked)).toBe(true);
        expect(cosigned.map(({ size }) => size)).toEqual(cosigned.map(({ size }) => size).toSorted((a, b) => a - b));
      }),
      { seed: 21, numRuns: 40 },
    );
  });
});
