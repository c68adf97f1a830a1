import { generateKeyPairSync, hash } from 'node:crypto';
import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { encodeFrames, readFrame } from '../../../src/base/journal/frame.ts';
import { lockDirectory } from '../../../src/base/journal/lock.ts';
import { readHead } from '../../../src/base/journal/segment.ts';
import { verifyDisk } from '../../../src/control/ledger/verify/verify-disk.ts';
import { formatVkey, keyTypes, rawPublicKey } from '../../../src/core/audit/note-key.ts';
import type { DataDirectory } from '../../support/data-directory.ts';
import { dataDirectory } from '../../support/data-directory.ts';
import { expectAppError } from '../../support/errors.ts';
import { tempDirectory } from '../../support/temp.ts';

function verify({ directory, policy }: Pick<DataDirectory, 'directory' | 'policy'>) {
  return verifyDisk(
    { directory, policy, progress: () => undefined, signal: new AbortController().signal },
    systemClock,
  );
}

/** Every file of ledger and log that holds anything, by its path below the data directory. */
async function filesOf(directory: string): Promise<readonly string[]> {
  const names = await Promise.all(
    ['ledger', 'log'].map(async (part) => (await readdir(join(directory, part))).map((name) => join(part, name))),
  );
  const files = names.flat().toSorted();
  const sizes = await Promise.all(files.map(async (file) => (await readFile(join(directory, file))).length));
  return files.filter((_, i) => sizes[i] !== 0);
}

/** Where a byte is changed: all over a file, and each of the first ones, which are its head. */
function placesIn(length: number): readonly number[] {
  const all = Array.from({ length: 14 }, (_, i) => Math.floor((i * (length - 1)) / 13));
  const head = Array.from({ length: 8 }, (_, i) => i * 7).filter((at) => at < length);
  return [...new Set([...head, ...all])];
}

describe('the disk of a control plane', () => {
  it('verifies as it is: every batch, every leaf, every row', async () => {
    const found = await verify(await dataDirectory());
    expect(found).toMatchObject({ batches: 12, sealed: 12, events: 36, indexRows: 36, problems: [], remarks: [] });
    expect(found.origin).toBe('example.org/writ/audit');
  });

  it('names the file of any byte that was changed', async () => {
    const data = await dataDirectory();
    const files = await filesOf(data.directory);
    expect(files.map((file) => basename(file).replace(/\d+/, 'N'))).toEqual(
      expect.arrayContaining(['N.wal', 'entries-N', 'ends-N', 'hashes-N-00000000']),
    );
    expect(files.filter((file) => file.endsWith('.wal')).length).toBeGreaterThan(1);
    for (const file of files) {
      const path = join(data.directory, file);
      const content = await readFile(path);
      for (const at of placesIn(content.length)) {
        const changed = Buffer.from(content);
        changed.writeUInt8((changed[at] ?? 0) ^ (1 << (at % 8)), at);
        await writeFile(path, changed);
        const { problems } = await verify(data);
        expect({ file, at, named: problems.map((problem) => problem.file) }).toEqual({
          file,
          at,
          named: expect.arrayContaining([path]),
        });
      }
      await writeFile(path, content);
    }
    expect((await verify(data)).problems).toEqual([]);
  }, 60_000);

  it('names a file that is gone, cut off, or grown', async () => {
    const data = await dataDirectory();
    for (const file of await filesOf(data.directory)) {
      const path = join(data.directory, file);
      const content = await readFile(path);
      // A snapshot spares time at a start, and nothing else: without it everything is there.
      const isNeeded = !basename(path).startsWith('snapshot-');
      await rm(path);
      if (isNeeded) expect({ file, gone: (await verify(data)).problems.length > 0 }).toEqual({ file, gone: true });
      for (const change of [content.subarray(0, -1), Buffer.concat([content, Buffer.from([0])])]) {
        await writeFile(path, change);
        const { problems, remarks } = await verify(data);
        // What stands behind the last record of a segment that is closed is read by nobody, and said.
        const named = [...problems.map((problem) => problem.file), ...remarks].some((text) => text.startsWith(path));
        expect({ file, named }).toEqual({ file, named: true });
      }
      await writeFile(path, content);
    }
  }, 60_000);

  it('names record, batch, sidecar and events where somebody made the checksum agree', async () => {
    const data = await dataDirectory({ segmentBytes: 1 << 20 });
    const path = join(data.directory, 'ledger', '0000000001.wal');
    const content = await readFile(path);
    const rewritten = rewrite(content, 3, (payload) =>
      payload.writeUInt8((payload.at(-1) ?? 0) ^ 1, payload.length - 1),
    );
    await writeFile(path, rewritten);
    const { problems } = await verify(data);
    expect(problems).toEqual([
      {
        file: path,
        offset: expect.any(Number),
        record: 3,
        leaf: 1,
        sidecar: 'sidecar-a',
        epoch: 1,
        firstSeq: 4,
        lastSeq: 6,
        what: expect.stringMatching(/^The batch is refused: /),
      },
    ]);
  });

  it('names what the log does not hold: another time of receipt, another sender', async () => {
    const data = await dataDirectory({ segmentBytes: 1 << 20 });
    const path = join(data.directory, 'ledger', '0000000001.wal');
    const content = await readFile(path);
    for (const [from, to] of [
      ['"receivedAt":1', '"receivedAt":2'],
      ['sa/orders', 'sa/others'],
    ] as const) {
      const rewritten = rewrite(content, 3, (payload) => {
        payload.write(to, payload.indexOf(from), 'latin1');
      });
      await writeFile(path, rewritten);
      expect((await verify(data)).problems).toContainEqual({
        file: path,
        offset: expect.any(Number),
        record: 3,
        leaf: 1,
        sidecar: 'sidecar-a',
        epoch: 1,
        firstSeq: 4,
        lastSeq: 6,
        what: 'the batch is not the one that was sealed in the log',
      });
    }
  });

  it('names a key that no certificate vouches for, and a snapshot that says something else', async () => {
    const data = await dataDirectory({ segmentBytes: 1 << 20 });
    const path = join(data.directory, 'ledger', '0000000001.wal');
    const content = await readFile(path);
    const rewritten = rewrite(content, 1, (payload) => {
      const at = payload.indexOf('"signature":"') + 20;
      payload.write(payload.toString('latin1', at, at + 1) === 'A' ? 'B' : 'A', at, 'latin1');
    });
    await writeFile(path, rewritten);
    expect((await verify(data)).problems).toContainEqual({
      file: path,
      offset: expect.any(Number),
      record: 1,
      sidecar: 'sidecar-a',
      what: 'the certificate does not vouch for the batch key',
    });
    await writeFile(path, content);
    const ledger = join(data.directory, 'ledger');
    const name = (await readdir(ledger)).findLast((file) => file.startsWith('snapshot-')) ?? '';
    const body = (await readFile(join(ledger, name), 'utf8')).slice(65).replace('"leaves":12', '"leaves":11');
    await writeFile(join(ledger, name), `${hash('sha256', body)}\n${body}`);
    expect((await verify(data)).problems).toEqual([
      { file: join(ledger, name), record: 15, what: 'it does not say what follows from the records' },
    ]);
  });

  it('names every row of the index that says something else, is missing, or was put in', async () => {
    const data = await dataDirectory();
    const file = join(data.directory, 'writ.db');
    const changed = async (sql: string) => {
      const before = await readFile(file);
      const db = new DatabaseSync(file);
      db.exec(sql);
      db.exec('pragma wal_checkpoint(truncate)');
      db.close();
      const { problems } = await verify(data);
      await writeFile(file, before);
      return problems.map(({ sidecar, epoch, firstSeq, what }) => [`${sidecar}.${epoch}.${firstSeq}`, what]);
    };
    const lacks = ['sidecar-a.1.4', 'audit_records lacks a row, or has it otherwise'];
    expect(await changed("update audit_records set path = '/x' where sidecar = 'sidecar-a' and seq = 4")).toEqual([
      lacks,
      ['sidecar-a.1.4', 'audit_records has a row that the ledger does not'],
    ]);
    expect(await changed("delete from audit_records where sidecar = 'sidecar-a' and seq = 4")).toEqual([lacks]);
    expect(await changed('update audit_completions set status = 500 where rowid = 1')).toHaveLength(2);
    expect(await changed('update audit_cursor set leaf = 13')).toEqual([
      ['undefined.undefined.undefined', 'the index says that it has 13 batches, and the ledger holds 12'],
    ]);
    expect((await changed("update audit_log_locks set checkpoint = replace(checkpoint, 'writ', 'writ2')")).length).toBe(
      1,
    );
    expect((await verify(data)).problems).toEqual([]);
  });

  it('names a database that is damaged', async () => {
    const data = await dataDirectory();
    const file = join(data.directory, 'writ.db');
    const content = await readFile(file);
    content.fill(0xff, 4096 * 3, 4096 * 5);
    await writeFile(file, content);
    expect((await verify(data)).problems.map((problem) => problem.file)).toContain(file);
  });

  it('is not read while a control plane writes it, and a copy is', async () => {
    const data = await dataDirectory();
    const unlock = lockDirectory(join(data.directory, 'ledger'));
    await expectAppError(verify(data), 'conflict', /Another process is using/);
    const directory = join(await tempDirectory(), 'copy');
    await cp(data.directory, directory, { recursive: true });
    expect((await verify({ ...data, directory })).problems).toEqual([]);
    unlock();
    await expectAppError(verify({ ...data, directory: '/nowhere' }), 'usage', /nowhere.ledger is not there/);
  });

  it('asks for witnesses where the policy does, of the checkpoint that they have cosigned', async () => {
    const data = await dataDirectory();
    const asking = Buffer.concat([
      Buffer.from(data.policy.toString('utf8').replace('quorum none\n', '')),
      Buffer.from(`witness w ${cosignerKey()}\nquorum w\n`),
    ]);
    const none = await verify({ ...data, policy: asking });
    expect(none.problems).toEqual([
      {
        file: join(data.directory, 'log', 'witnessed'),
        what: 'no checkpoint is there that the witnesses of the policy have cosigned',
      },
    ]);
    const log = join(data.directory, 'log');
    const name = (await readdir(log)).find((file) => file.startsWith('checkpoint-')) ?? '';
    await cp(join(log, name), join(log, 'witnessed'));
    expect((await verify(data)).problems).toEqual([]);
    expect((await verify({ ...data, policy: asking })).problems[0]?.what).toContain('are not the quorum w');
  });

  it('belongs to the log that the policy names', async () => {
    const [data, other] = [await dataDirectory(), await dataDirectory()];
    const { problems } = await verify({ ...data, policy: other.policy });
    expect(problems.map(({ what }) => what).join()).toContain('refused');
  });
});

/** Of a witness that nobody has asked. */
function cosignerKey(): string {
  const publicKey = rawPublicKey(generateKeyPairSync('ed25519').privateKey);
  return formatVkey({ name: 'w', type: keyTypes.cosignature, publicKey });
}

/** Changes the payload of a record so that its checksum is right. */
function rewrite(content: Buffer, number: number, change: (payload: Buffer) => void): Buffer {
  const found = readHead(content.subarray(0, 512), 'ledger', '');
  if (found === undefined) throw new Error('no head');
  const { salt } = found.head;
  for (let offset = found.end; ; ) {
    const frame = readFrame(content, offset, salt);
    if (frame === undefined) throw new Error('no such record');
    if (frame.number === number) {
      const payload = Buffer.from(frame.payload);
      change(payload);
      const again = encodeFrames([payload], { first: number, durable: frame.durable, salt });
      return Buffer.concat([content.subarray(0, offset), again, content.subarray(frame.end)]);
    }
    offset = frame.end;
  }
}
