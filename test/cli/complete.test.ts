import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { withDefault } from '../../src/base/config.ts';
import { choice } from '../../src/base/config-types.ts';
import { policyText } from '../edge/rest/world.ts';
import type { Connected } from './server.ts';
import { connect } from './server.ts';
import type { Terminal } from './terminal.ts';
import { createTerminal } from './terminal.ts';

/** The words that are offered, without their descriptions. */
async function offered(cli: Terminal, ...words: string[]): Promise<string[]> {
  const { status, stdout, stderr } = await cli.run('__complete', '--', ...words);
  expect([status, stderr]).toEqual([0, '']);
  const [kind, ...lines] = stdout.trimEnd().split('\n');
  return kind === 'files' ? ['FILES'] : lines.map((line) => line.split('\t')[0] ?? '');
}

/** A mesh with two policies and two entries. */
async function shop(): Promise<Connected> {
  const cli = await connect();
  await cli.file('p.yaml', `${policyText('orders')}---\n${policyText('ledger', { namespace: 'bank' })}`);
  await cli.run('apply', '-f', 'p.yaml');
  await cli.run('entry', 'create', 'shop/web');
  await cli.run('entry', 'create', 'shop/orders');
  return cli;
}

describe('completion without a control plane', () => {
  it.each([
    [['con'], ['context']],
    [
      ['context', 's'],
      ['show', 'save'],
    ],
    [['get', 'pol'], ['policies']],
    [
      ['delete', ''],
      [
        'policy',
        'request-authentication',
        'peer-authentication',
        'rate-limit',
        'entry',
        'join-token',
        'federation',
        'token',
      ],
    ],
    [
      ['get', 'policies', '-o', ''],
      ['table', 'wide', 'json', 'yaml', 'name'],
    ],
    [['get', 'policies', '--output=j'], ['--output=json']],
    [['get', 'policies', '-oj'], ['-ojson']],
    [
      ['audit', 'tail', '-o', ''],
      ['table', 'json'],
    ],
    [
      ['audit', 'search', '--decision', ''],
      ['allow', 'deny'],
    ],
    [['--color', 'auto', 'aud'], ['audit']],
    [
      ['--color', 'a'],
      ['auto', 'always'],
    ],
    [
      ['get', '--color', 'a'],
      ['auto', 'always'],
    ],
    [
      ['completion', ''],
      ['bash', 'zsh', 'fish'],
    ],
    [['apply', '-f', ''], ['FILES']],
    [['--token-file=x'], ['FILES']],
    [['help', 'comp'], ['completion']],
    [['nowhere', ''], []],
    [['get', 'policies', '--', '-'], []],
  ])('%j offers %j', async (words, expected) => {
    const cli = await createTerminal();
    expect(await offered(cli, ...words)).toEqual(expected);
  });

  it('offers the options of a command and those of every command, none that is hidden, each once', async () => {
    const run = async () => undefined;
    const schema = { 'log.form': withDefault(choice(['json', 'text']), 'json', 'Form of the log') };
    const flags = [{ usage: '--exit-with-parent', description: '', hidden: true }];
    const cli = await createTerminal({ services: [{ name: 'server', summary: 'Run it.', schema, flags, run }] });
    const options = await offered(cli, 'server', '--');
    expect(options).toEqual(expect.arrayContaining(['--log-form', '--config', '--help', '--addr', '--color']));
    expect(options).not.toContain('--exit-with-parent');
    expect(new Set(options).size).toBe(options.length);
    // A setting with a closed list of values names them in its form.
    expect(await offered(cli, 'server', '--log-form', '')).toEqual(['json', 'text']);
    expect(await offered(cli, 'server', '--config', '')).toEqual(['FILES']);
    // Nothing else can stand there.
    expect(await offered(cli, 'version', '')).toContain('--client');
  });

  it('offers every command that the help names', async () => {
    const cli = await createTerminal();
    const help = (await cli.run('--help')).stdout.split('Commands:\n')[1] ?? '';
    const named = [...help.matchAll(/^ {2}([a-z-]+)/gm)].map((match) => match[1]);
    expect(named.length).toBeGreaterThan(10);
    expect(await offered(cli, '')).toEqual(named);
    expect(named).not.toContain('__complete');
  });

  it('describes each in one line', async () => {
    const cli = await createTerminal();
    const { stdout } = await cli.run('__complete', '--', 'g');
    expect(stdout).toBe('words\nget\tShow objects.\n');
  });

  it.each([
    [[]],
    [['--']],
    [['--', 'get', 'policies', '']],
    [['--', 'get', 'nonsense', '']],
    [['--', '--addr', 'ftp://x', 'get', 'policies', '']],
    [['--', '--addr', 'http://10.0.0.1:1', 'get', 'policies', '']],
    [['--', '--token-file', '/nowhere', '--addr', '127.0.0.1:1', 'get', 'policies', '']],
    [['--', '--color', 'pink', '--wat', '-x', '--=', '-']],
  ])('%j is answered all the same, with status 0 and without a word on standard error or a question', async (words) => {
    const cli = await createTerminal({ interactive: true });
    const { status, stdout, stderr } = await cli.run('__complete', ...words);
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/^words\n/);
    expect(cli.questions).toEqual([]);
  });
});

describe('completion of names', () => {
  it('offers policies by namespace and name, from the namespace that is typed', async () => {
    const cli = await shop();
    expect(await offered(cli, 'get', 'policies', '')).toEqual(['bank/ledger', 'shop/orders']);
    expect(await offered(cli, 'delete', 'policy', 'sh')).toEqual(['shop/orders']);
    expect(await offered(cli, 'delete', 'policy', 'bank/')).toEqual(['bank/ledger']);
    expect(await offered(cli, 'get', 'policies', 'shop/orders', '-n', '')).toEqual(['bank', 'shop']);
  });

  it('offers entries by workload, and by id where an id is typed', async () => {
    const cli = await shop();
    const [first] = (await cli.run('get', 'entries', '-o', 'name')).stdout.split('\n');
    const id = first?.replace('entry/', '') ?? '';
    expect((await offered(cli, 'get', 'entries', '')).sort()).toEqual(['shop/orders', 'shop/web']);
    expect(await offered(cli, 'get', 'entry', id.slice(0, 20))).toContain(id);
    expect((await offered(cli, 'join-token', 'create', '')).sort()).toEqual(['shop/orders', 'shop/web']);
    expect((await offered(cli, 'policy', 'check', '--from', '')).sort()).toEqual(['shop/orders', 'shop/web']);
    expect(await offered(cli, 'audit', 'search', '--to=shop/w')).toEqual(['--to=shop/web']);
    expect(await offered(cli, 'policy', 'check', '--from', id.slice(0, 20))).toEqual([]);
  });

  it('offers a sidecar by its workload, and each by its instance where the workload has several', async () => {
    const cli = await connect();
    const of = (instanceId: string, service: string) =>
      ({
        instanceId,
        spiffeId: `spiffe://example.org/ns/shop/sa/${service}`,
        version: '',
        connected: true,
        state: 'synced',
        serving: true,
        desiredRevision: 1,
        desiredChange: null,
        staleSince: null,
        acknowledgedRevision: 1,
        acknowledgedAt: 0,
        connectedSince: 0,
        lastSeen: 0,
        endpoints: [],
        lastError: null,
      }) as const;
    cli.rest.proxies.push(of('i-1', 'web'), of('i-2', 'web'), of('i-3', 'orders'));
    expect(await offered(cli, 'get', 'proxies', '')).toEqual(['i-1', 'i-2', 'shop/orders']);
  });

  it('takes the control plane that the line names, by the rules of every command', async () => {
    const cli = await shop();
    Object.assign(cli.world.env, { WRIT_ADDR: '', WRIT_TOKEN_FILE: '' });
    expect(await offered(cli, 'get', 'policies', '')).toEqual([]);
    const line = ['--addr', cli.url, '--token-file', cli.tokenFile, 'get', 'policies', ''];
    expect(await offered(cli, ...line)).toEqual(['bank/ledger', 'shop/orders']);
    expect(await offered(cli, `--addr=${cli.url}`, 'get', 'policies', '')).toEqual([]);
  });

  it('leaves out names that hide what they are or would be read as options, and all that is no name', async () => {
    const names = ['ok', 'a\u001b[2J', 'b\nrm', 'c\td', 'e\u202ef', 'x'.repeat(600), 'g$(h)'];
    const policies = names.map((name) => ({ metadata: { namespace: 's', name } }));
    const cli = await answering(
      JSON.stringify({ items: [...policies, { metadata: { namespace: '--yes', name: 'z' } }] }),
    );
    expect(await offered(cli, 'delete', 'policy', '')).toEqual(['s/ok', 's/g$(h)']);
    for (const strange of ['', '[]', '{"items":7}', '{"items":[{}]}', '<html>', '{"items":[{"metadata":null}]}']) {
      expect(await offered(await answering(strange), 'delete', 'policy', '')).toEqual([]);
    }
  });

  it('shows no token, and asks nobody whom the command would not ask', async () => {
    const cli = await shop();
    const { stdout } = await cli.run('__complete', '--', '--curl', 'get', 'policies', '');
    expect(stdout).toBe('words\nbank/ledger\nshop/orders\n');
    expect(cli.printed.stdout + cli.printed.stderr).not.toContain(cli.rest.token);
  });

  it('gives up on a control plane that does not answer within a second or so', async () => {
    const cli = await answering(undefined);
    const before = performance.now();
    expect(await offered(cli, 'get', 'policies', '')).toEqual([]);
    expect(performance.now() - before).toBeLessThan(5_000);
  });
});

/** A terminal whose control plane says this to everything; nothing at all without it. */
async function answering(body: string | undefined): Promise<Terminal> {
  const server = createServer((_request, response) => {
    if (body !== undefined) response.end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return createTerminal({ env: { WRIT_ADDR: `127.0.0.1:${(server.address() as AddressInfo).port}` } });
}
