import { chmod, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/log.ts';
import { Lifetime } from '../../src/base/tasks.ts';
import { openSinkMemory } from '../../src/control/ledger/sinks/cursor.ts';
import { openSinks } from '../../src/main/sinks.ts';
import type { SinkConfig } from '../../src/main/sinks-config.ts';
import { parseSyslog } from '../control/ledger/sinks/parsers.ts';
import { TestLedger } from '../control/ledger/test-ledger.ts';
import { itemsFrom } from '../edge/sinks/items.ts';
import { httpsReceiver, syslogReceiver } from '../edge/sinks/receivers.ts';
import { decision } from '../support/audit.ts';
import { expectAppError } from '../support/errors.ts';
import { tempDirectory } from '../support/temp.ts';

const nothing: Omit<SinkConfig, 'name' | 'type'> = {
  ...{ format: 'ocsf', from: 'start', path: undefined, maxBytes: undefined, url: undefined, urlFile: undefined },
  ...{ address: undefined, caFile: undefined, certificateFile: undefined, keyFile: undefined },
  ...{ secretFile: undefined, tokenFile: undefined },
};

async function world() {
  const directory = await tempDirectory();
  const ledger = new TestLedger();
  const life = new Lifetime();
  onTestFinished(() => life.close());
  const deps = {
    ...{ directory: join(directory, 'sinks'), ledger, sealedBelow: () => 0, logOrigin: 'example.org/log' },
    ...{ trustDomain: 'example.org', version: '1.2.3', clock: systemClock, logger: silentLogger },
    trail: { report: () => Promise.resolve() },
  };
  const file = async (name: string, text: string, mode = 0o600) => {
    const path = join(directory, name);
    await writeFile(path, text);
    await chmod(path, mode);
    return path;
  };
  const open = (...configs: readonly (Partial<SinkConfig> & Pick<SinkConfig, 'name' | 'type'>)[]) =>
    openSinks(
      configs.map((config) => ({ ...nothing, ...config })),
      deps,
      life,
    );
  return { directory, ledger, file, open };
}

describe('the sinks of a server', () => {
  it('each get everything in their format, whatever the others do', async () => {
    const { ledger, directory, file, open } = await world();
    const https = await httpsReceiver();
    const syslog = await syslogReceiver();
    https.answer = ({ path }, response) => {
      if (path.includes('ack')) response.end('{"acks":{"1":true}}');
      else response.end('{"ackId":1}');
    };
    const caFile = await file('ca.pem', https.ca, 0o644);
    const secretFile = await file('secret', 'a shared secret\n');
    const url = https.url.href;
    const sinks = await open(
      { name: 'archive', type: 'file', path: join(directory, 'audit.jsonl') },
      { name: 'hook', type: 'webhook', format: 'json', url, caFile, secretFile },
      { name: 'log', type: 'syslog', format: 'cef', address: { host: '127.0.0.1', port: syslog.port }, caFile },
      { name: 'otel', type: 'otlp', url: `${https.url.origin}/v1/logs`, caFile },
      { name: 'splunk', type: 'splunk', urlFile: await file('url', `${url}\n`), caFile, tokenFile: secretFile },
      { name: 'gone', type: 'syslog', address: { host: '127.0.0.1', port: 1 } },
    );
    ledger.add([decision(), decision()]);
    const stop = new AbortController();
    const running = sinks.map((sink) => sink.run(stop.signal));
    await expect
      .poll(() => sinks.map(({ status }) => [status.name, status.state, status.lagBatches]), { timeout: 5_000 })
      .toEqual([
        ...[
          ['archive', 'following', 0],
          ['hook', 'following', 0],
          ['log', 'following', 0],
        ],
        ...[
          ['otel', 'following', 0],
          ['splunk', 'following', 0],
          ['gone', 'failing', 1],
        ],
      ]);
    stop.abort();
    await Promise.all(running);
    expect((await readFile(join(directory, 'audit.jsonl'), 'utf8')).match(/"class_uid":4002/g)).toHaveLength(2);
    await expect
      .poll(() => syslog.messages.map((text) => parseSyslog(text).message.slice(0, 5)))
      .toEqual(['CEF:0', 'CEF:0']);
    const paths = https.received.map(({ path }) => path.replace(/\?.*/, '')).sort();
    expect(paths).toEqual(['/in', '/services/collector/ack', '/services/collector/event', '/v1/logs']);
    expect(sinks.map(({ status }) => status.guarantee)).toEqual([
      ...['at-least-once', 'at-least-once', 'best-effort', 'at-least-once', 'at-least-once', 'best-effort'],
    ]);
    const remembered = await readdir(join(directory, 'sinks'));
    expect(remembered.sort()).toEqual(
      ['archive', 'gone', 'hook', 'log', 'otel', 'splunk'].map((name) => `${name}.json`),
    );
  });

  it('do not start with a secret that others can read, that is empty or that is not there', async () => {
    const { file, open, directory } = await world();
    const hook = { name: 'hook', type: 'webhook', url: 'https://localhost/' } as const;
    const open4 = await file('open', 'secret', 0o644);
    await expectAppError(open({ ...hook, secretFile: open4 }), 'usage', /can be read by others \(mode 644\)/);
    await expectAppError(open({ ...hook, secretFile: await file('empty', '\n') }), 'usage', /is missing or empty/);
    await expectAppError(open({ ...hook, secretFile: join(directory, 'none') }), 'usage', /is missing or empty/);
    const secretFile = await file('secret', 's');
    await expectAppError(
      open({ name: 'hook', type: 'webhook', secretFile, urlFile: await file('url', 'http://example.org/') }),
      'usage',
      'The sink hook needs an https URL; http is for a receiver on this machine.',
    );
    const caFile = join(directory, 'no-ca');
    await expectAppError(
      open({ ...hook, secretFile, caFile }),
      'usage',
      /^Cannot read .*no-ca for the sink hook: ENOENT\.$/,
    );
  });
});

describe('what a sink remembers', () => {
  it('is there after a restart, for its owner only', async () => {
    const directory = join(await tempDirectory(), 'sinks');
    const memory = await openSinkMemory(directory, 'siem');
    expect(await memory.read()).toBeUndefined();
    await memory.write({ leaf: 7, position: 3 });
    expect(await (await openSinkMemory(directory, 'siem')).read()).toEqual({ leaf: 7, position: 3 });
    const [item] = itemsFrom([decision()]);
    if (item === undefined) throw new Error('no item');
    await memory.reject(item, 'The receiver answered 400.');
    const rejected = join(directory, 'siem.rejected.jsonl');
    expect(JSON.parse(await readFile(rejected, 'utf8'))).toMatchObject({ why: 'The receiver answered 400.' });
    for (const path of [rejected, join(directory, 'siem.json')]) expect((await stat(path)).mode & 0o077).toBe(0);
  });

  it.each(['', '{', '{}', '{"leaf":-1,"position":0}', '{"leaf":1.5,"position":0}', 'null'])(
    '%s is no position, and what to do is said',
    async (text) => {
      const directory = join(await tempDirectory(), 'sinks');
      const memory = await openSinkMemory(directory, 'siem');
      await writeFile(join(directory, 'siem.json'), text);
      await expectAppError(memory.read(), 'incompatible-data', /Remove it, and the sink gets everything again\.$/);
    },
  );
});
