import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect } from 'vitest';
import { formatVkey } from '../../../src/core/audit/note-key.ts';
import { createWorld } from '../../edge/rest/world.ts';
import { logKeys, logWorld, openTestLog } from '../../support/audit-log.ts';
import { itUnless, missingPrograms } from '../foreign.ts';

const run = promisify(execFile);
const unavailable = missingPrograms('INTEROP_GO_CLIENTS', 'tlog-check');

describe("the packages of Go's checksum database (sumdb/note, sumdb/tlog)", { timeout: 60_000 }, () => {
  itUnless(unavailable, 'audit 1, 2, 6 to 10, 13 to 17: accept the log, and no changed one', async () => {
    const sources = logWorld();
    const { log, sequencer } = await openTestLog(sources);
    sources.ledger.addMany(600);
    await sequencer.step();
    const world = await createWorld({ deps: { log, logIsPublic: true } });
    const { url } = await world.listen();
    const [ed25519] = (await logKeys()).publicKeys;
    if (ed25519 === undefined) throw new Error('no key');
    const check = () =>
      run(join(process.env.INTEROP_GO_CLIENTS ?? '', 'tlog-check'), [`${url}/log`, formatVkey(ed25519)]);
    expect((await check()).stdout).toBe('600\n');
    sources.files.tamper('entries-00000000', (bytes) => {
      bytes.writeUInt8((bytes[1000] ?? 0) ^ 1, 1000);
      return bytes;
    });
    await expect(check()).rejects.toThrow(/entry 1 is not in the tree/);
  });
});
