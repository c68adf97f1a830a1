import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../src/base/log.ts';
import { formatLogPolicy } from '../../src/core/audit/log-policy.ts';
import { formatVkey } from '../../src/core/audit/note-key.ts';
import { readWitnesses } from '../../src/main/audit-config.ts';
import { runWitness } from '../../src/main/witness.ts';
import { witnessConfig } from '../../src/main/witness-config.ts';
import { FakeClock } from '../support/clock.ts';
import { expectAppError } from '../support/errors.ts';
import { tempDirectory } from '../support/temp.ts';
import { openWitness, witnessPolicy } from '../support/witness.ts';

const flags = { name: 'w.example/a', 'policy-file': 'log.txt', 'state-dir': 'state' };

async function findings(more: Record<string, string>): Promise<string> {
  const error = await expectAppError(() => witnessConfig({ flags: { ...flags, ...more }, env: {} }), 'usage');
  return error.details.map(({ message }) => message).join('\n');
}

describe('the configuration of a witness', () => {
  it('needs a name, a policy and a directory, and listens on this machine', () => {
    expect(witnessConfig({ flags, env: {} })).toEqual({
      name: 'w.example/a',
      policyFile: resolve('log.txt'),
      stateDirectory: resolve('state'),
      listen: { host: '127.0.0.1', port: 8446 },
      tls: undefined,
      logLevel: 'info',
    });
  });

  it('is refused in plain text beyond this machine, with half a certificate, and with a name that no key can have', async () => {
    expect(await findings({ listen: '0.0.0.0:8446' })).toMatch(/0\.0\.0\.0:8446 without a certificate/);
    expect(await findings({ 'tls-key-file': 'key.pem' })).toMatch(/one of them is missing/);
    expect(await findings({ name: 'a b' })).toMatch(/URL without its scheme/);
    const tls = { listen: '0.0.0.0:8446', 'tls-certificate-file': 'c.pem', 'tls-key-file': 'k.pem' };
    expect(witnessConfig({ flags: { ...flags, ...tls }, env: {} }).tls).toEqual({
      certificateFile: resolve('c.pem'),
      keyFile: resolve('k.pem'),
    });
  });
});

describe('writ witness', () => {
  it('is one for each directory, and needs a log to witness', async () => {
    const directory = await tempDirectory();
    const policyFile = join(directory, 'policy.txt');
    const config = {
      ...witnessConfig({ flags, env: {} }),
      policyFile,
      stateDirectory: join(directory, 'state'),
      listen: { host: '127.0.0.1', port: 0 },
    };
    const stop = new AbortController();
    const deps = { signal: stop.signal, clock: new FakeClock(), logger: silentLogger, version: '0' };
    await expectAppError(runWitness(config, { ...deps, onReady: () => undefined }), 'usage', /Cannot read .*ENOENT/);
    await writeFile(policyFile, 'quorum none\n');
    await expectAppError(runWitness(config, { ...deps, onReady: () => undefined }), 'usage', /no log line/);
    const { logs } = await witnessPolicy({}, 'none');
    await writeFile(policyFile, formatLogPolicy(logs.map(({ key }) => formatVkey(key))));
    const ready = Promise.withResolvers<void>();
    const running = runWitness(config, { ...deps, onReady: ready.resolve });
    await Promise.race([ready.promise, running]);
    await expectAppError(runWitness(config, { ...deps, onReady: () => undefined }), 'conflict', /Another process/);
    stop.abort();
    await running;
  });
});

describe('audit.witnesses', () => {
  const read = async (text: string) => {
    const file = join(await tempDirectory(), 'witnesses.txt');
    await writeFile(file, text);
    return readWitnesses(file);
  };
  const witnessLine = async (name: string, url = '') =>
    `witness ${name} ${(await openWitness(undefined, { name })).vkey} ${url}\n`;

  it('is nobody if nothing is said, and otherwise who can be asked', async () => {
    expect(await readWitnesses(undefined)).toBeUndefined();
    const lines = `${await witnessLine('a', 'https://a.example/w')}${await witnessLine('b', 'http://[::1]:8446')}${await witnessLine('c')}`;
    const policy = await read(`${lines}group g 2 a b c\nquorum g\n`);
    expect(policy?.witnesses.map(({ url }) => url)).toEqual(['https://a.example/w', 'http://[::1]:8446', undefined]);
  });

  it('is refused with nobody to ask, a quorum out of reach, or an URL that is not https', async () => {
    await expectAppError(read('quorum none\n'), 'usage', /it has no witness line/);
    const away = `${await witnessLine('a', 'https://a.example')}${await witnessLine('b')}`;
    await expectAppError(read(`${away}group g all a b\nquorum g\n`), 'usage', /quorum cannot be reached/);
    for (const url of [
      'http://a.example',
      'ftp://a',
      'nothing',
      'https://u@a.example',
      'https://a.example?x',
      'https://a.example#x',
    ])
      await expectAppError(read(`${await witnessLine('a', url)}quorum a\n`), 'usage', /URL of a is not https/);
    const many = await Promise.all(Array.from({ length: 33 }, (_, i) => witnessLine(`w${i}`, 'https://a.example')));
    await expectAppError(read(`${many.join('')}quorum none\n`), 'usage', /more than 32/);
    await expectAppError(read('witness\n'), 'invalid-document', /line 1/);
  });
});
