import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../src/base/errors.ts';
import { formatLogPolicy } from '../../src/core/audit/log-policy.ts';
import { formatVkey } from '../../src/core/audit/note-key.ts';
import { decision, shippingIdentity } from '../support/audit.ts';
import { logKeys, logWorld, openTestLog, SignedLedger } from '../support/audit-log.ts';
import { dataDirectory } from '../support/data-directory.ts';
import { testSidecar } from '../support/test-sidecar.ts';
import { connect } from './server.ts';
import { createTerminal } from './terminal.ts';

async function setUp(count: number) {
  const sidecars = ['sidecar-a', 'sidecar-b'].map((id) => testSidecar(shippingIdentity(id)));
  const sources = logWorld({ ledger: new SignedLedger(sidecars) });
  const { log, sequencer } = await openTestLog(sources);
  for (let i = 0; i < count; i++) sources.ledger.add([decision(), decision()], i % 2);
  while (await sequencer.step());
  const cli = await connect({ deps: { log } });
  const policy = await cli.file('policy.txt', formatLogPolicy((await logKeys()).publicKeys.map(formatVkey)));
  const verify = (...more: string[]) => cli.run('audit', 'verify', '--log', '--policy', policy, ...more);
  return { ...sources, cli, verify };
}

describe('audit verify --log, of the control plane itself', () => {
  it('holds the events of every batch against the log, more than one answer of them', async () => {
    const { verify } = await setUp(600);
    const { status, stdout } = await verify();
    expect(status).toBe(0);
    expect(stdout).toContain('600 batches with 1200 events of 2 recorders');
    expect(stdout).toContain('each event is as it was signed');
    expect(JSON.parse((await verify('-o', 'json')).stdout)).toMatchObject({ eventsRead: true });
    expect(JSON.parse((await verify('-o', 'json', '--no-events')).stdout)).toMatchObject({ eventsRead: false });
  });

  it('names every batch whose events, signature, header or key are others', async () => {
    const { verify, ledger } = await setUp(10);
    const change = (leaf: number, field: 'events' | 'header' | 'signature') => {
      const logged = ledger.batches[leaf];
      if (logged === undefined) throw new Error('no such batch');
      const bytes = Buffer.from(logged.batch[field]);
      bytes.writeUInt8((bytes.at(-2) ?? 0) ^ 1, bytes.length - 2);
      ledger.batches[leaf] = { ...logged, batch: { ...logged.batch, [field]: bytes } };
    };
    change(1, 'events');
    change(4, 'header');
    change(7, 'signature');
    const other = ledger.batches[8];
    if (other !== undefined) ledger.batches[8] = { ...other, keyRecord: 2 };
    const { status, stdout, stderr } = await verify();
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toContain('The log verifies, and the control plane holds other events than it has sealed.');
    const named = stderr.split('\n').filter((line) => line.includes('batch '));
    expect(named.map((line) => line.replace(/: The events.*/, '').trim())).toEqual([
      'batch 1 (sidecar sidecar-b, epoch 1, events 1 to 2)',
      'batch 4 (sidecar sidecar-a, epoch 1, events 5 to 6)',
      'batch 7 (sidecar sidecar-b, epoch 1, events 7 to 8)',
      'batch 8 (sidecar sidecar-a, epoch 1, events 9 to 10)',
    ]);
  });

  it('says which file cannot be read, and that what is behind it was not', async () => {
    const { verify, ledger } = await setUp(10);
    const read = ledger.read.bind(ledger);
    ledger.read = async function* (from) {
      for await (const batch of read(from)) {
        if (batch.leaf === 6)
          throw new AppError('incompatible-data', 'ledger/0000000001.wal is damaged at offset 4711.');
        yield batch;
      }
    };
    const { status, stderr } = await verify();
    expect(status).toBe(1);
    expect(stderr).toContain('batch 6 and what is behind it: ledger/0000000001.wal is damaged at offset 4711.');
  });
});

describe('audit verify --data', () => {
  it('verifies a copy of a data directory, and names what differs', async () => {
    const data = await dataDirectory();
    const { cwd, file, run } = await createTerminal();
    const policy = await file('policy.txt', data.policy.toString('utf8'));
    const directory = join(cwd, 'copy');
    await cp(data.directory, directory, { recursive: true });
    const good = await run('audit', 'verify', '--data', 'copy', '--policy', policy);
    expect(good).toMatchObject({ status: 0, stderr: '' });
    expect(good.stdout).toMatch(
      /^✓ example.org\/writ\/audit: 12 batches with 36 events, each as it was signed\n {2}root {7}\S+\n {2}index {6}36 rows, each as the ledger has it\n$/,
    );
    const path = join(directory, 'ledger', '0000000001.wal');
    const content = await readFile(path);
    content.writeUInt8(content.readUInt8(1000) ^ 1, 1000);
    await writeFile(path, content);
    const bad = await run('audit', 'verify', '--data', 'copy', '--policy', policy);
    expect(bad).toMatchObject({ status: 1, stdout: '' });
    expect(bad.stderr).toContain('not what was signed.');
    expect(bad.stderr).toContain(`${path}: offset `);
    const json = await run('audit', 'verify', '--data', 'copy', '--policy', policy, '-o', 'json');
    expect(json.status).toBe(1);
    expect(JSON.parse(json.stdout).problems.length).toBeGreaterThan(0);
  });

  it('asks whom to trust', async () => {
    const { run } = await createTerminal();
    expect((await run('audit', 'verify', '--data', 'x')).stderr).toContain('give --policy');
    expect((await run('audit', 'verify', '--data', 'x', '--log')).status).toBe(2);
  });
});
