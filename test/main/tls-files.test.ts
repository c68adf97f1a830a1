import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../src/base/log.ts';
import { watchTlsFiles } from '../../src/main/tls-files.ts';
import { FakeClock } from '../support/clock.ts';
import { expectAppError } from '../support/errors.ts';
import { tempDirectory } from '../support/temp.ts';
import { makeWebCertificate } from '../support/web-certificate.ts';

const [first, second] = [await makeWebCertificate(), await makeWebCertificate()];

async function setUp() {
  const directory = await tempDirectory();
  const files = { certificateFile: join(directory, 'tls.crt'), keyFile: join(directory, 'tls.key') };
  const clock = new FakeClock();
  await writeFile(files.certificateFile, first.cert);
  await writeFile(files.keyFile, first.key);
  return { files, clock, deps: { clock, logger: silentLogger } };
}

it('a certificate that is replaced is taken up, and only together with its key', async () => {
  const { files, clock, deps } = await setUp();
  const { tls, stop } = await watchTlsFiles(files, deps);
  onTestFinished(stop);
  expect(tls.current).toEqual(first);
  await writeFile(files.certificateFile, second.cert);
  const look = async () => {
    await expect.poll(() => clock.pendingTimers).toBe(1);
    await clock.advance(10_000);
    await expect.poll(() => clock.pendingTimers).toBe(1);
  };
  await look();
  expect(tls.current).toEqual(first);
  expect(tls.version).toBe(0);
  await writeFile(files.keyFile, second.key);
  await look();
  expect(tls.current).toEqual(second);
  await look();
  expect(tls.version).toBe(1);
});

it('without a good pair to begin with, nothing is served, and no part of a key is repeated', async () => {
  const { files, deps } = await setUp();
  await writeFile(files.keyFile, second.key);
  const error = await expectAppError(watchTlsFiles(files, deps), 'usage', /are no certificate and its key/);
  expect(error.message).not.toContain(second.key.split('\n')[1]);
  await expectAppError(watchTlsFiles({ ...files, keyFile: '/nowhere' }, deps), 'usage', /Cannot read \/nowhere/);
});
