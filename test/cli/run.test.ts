import { describe, expect, it } from 'vitest';
import { required, withDefault } from '../../src/base/config.ts';
import { flag, integer, list, text } from '../../src/base/config-types.ts';
import { AppError } from '../../src/base/errors.ts';
import { createTerminal } from './terminal.ts';

const schema = {
  trustDomain: required(text(), 'The trust domain'),
  'rest.listen': withDefault(text(), 'here', 'Where REST listens'),
  noTraffic: withDefault(flag, 'false', 'No traffic'),
  inbound: withDefault(list(text(), { max: 3 }), '', 'Inbound'),
  max: withDefault(integer({ min: 1, max: 3 }), '2', 'Most'),
};

async function terminalWith(
  run: (flags: Record<string, unknown>) => Promise<void>,
  o: Parameters<typeof createTerminal>[0] = {},
) {
  const flags = [{ usage: '--exit-with-parent', description: '', hidden: true }];
  return createTerminal({ ...o, services: [{ name: 'server', summary: 'Run it.', schema, flags, run }] });
}

describe('services', () => {
  it('get every flag by the name of its setting, repeated ones as a list', async () => {
    let given: unknown;
    const cli = await terminalWith(async (flags) => {
      given = flags;
    });
    const argv = [
      '--trust-domain',
      'a',
      '--inbound',
      'x',
      '--inbound=y',
      '--no-traffic',
      '--exit-with-parent',
      '--config',
      'c.yaml',
    ];
    expect((await cli.run('server', ...argv)).status).toBe(0);
    expect(given).toEqual({
      'trust-domain': 'a',
      inbound: ['x', 'y'],
      'no-traffic': true,
      'exit-with-parent': true,
      config: 'c.yaml',
    });
  });

  it('--help lists every setting with limit and default, and no hidden flag', async () => {
    const cli = await terminalWith(async () => undefined);
    const { status, stdout } = await cli.run('server', '--help');
    expect(status).toBe(0);
    expect(stdout).toMatch(/--trust-domain <text>\n +The trust domain \(required\)/);
    expect(stdout).toMatch(/--max <number>\n +Most \(1 to 3; default 2\)/);
    expect(stdout).toContain('WRIT_REST_LISTEN');
    expect(stdout).not.toContain('exit-with-parent');
  });
});

describe('--curl', () => {
  it.each([[['server', '--curl']], [['--curl', 'server']]])('%j is wrong usage: a service is no call', async (argv) => {
    let ran = false;
    const cli = await terminalWith(async () => {
      ran = true;
    });
    const { status, stderr } = await cli.run(...argv);
    expect([status, ran]).toEqual([2, false]);
    expect(stderr).toBe(
      'error: --curl shows calls to the control plane, and `writ server` is not one. Leave --curl out.\n  more: docs/errors.md#usage\n',
    );
  });
});

describe('errors', () => {
  it('with one finding that says the same are told once, with the place if there is one', async () => {
    for (const [place, line] of [
      [{}, 'error: It is wrong.\n  more: docs/errors.md#usage\n'],
      [{ file: 'a.yaml', line: 2, column: 3 }, 'error: a.yaml:2:3: It is wrong.\n  more: docs/errors.md#usage\n'],
    ] as const) {
      const cli = await terminalWith(async () => {
        throw new AppError('usage', 'It is wrong.', { details: [{ code: 'a', message: 'It is wrong.', ...place }] });
      });
      expect((await cli.run('server')).stderr).toBe(line);
    }
  });

  it('are told with every finding, and their code is the exit status', async () => {
    const details = [
      { code: 'a', message: 'is wrong', file: 'writ.yaml', line: 2, column: 3 },
      { code: 'b', message: '--x is wrong' },
    ];
    const cli = await terminalWith(async () => {
      throw new AppError('usage', 'Two problems.', { details });
    });
    expect(await cli.run('server')).toEqual({
      status: 2,
      stdout: '',
      stderr: 'error: Two problems.\n  writ.yaml:2:3: is wrong\n  --x is wrong\n  more: docs/errors.md#usage\n',
    });
  });

  it('of a service that says all in one line are one line', async () => {
    const run = async () => {
      throw new AppError('conflict', 'It runs already.');
    };
    const cli = await createTerminal({
      services: [{ name: 'dev', summary: 'Try it.', schema, oneLineErrors: true, run }],
    });
    expect((await cli.run('dev')).stderr).toBe('error: It runs already.\n');
    expect((await cli.run('--color', 'never', 'dev')).stderr).toBe('error: It runs already.\n');
  });

  it('that the parser of the command line finds say where to read on', async () => {
    const cli = await createTerminal();
    expect((await cli.run('get', 'policies', '--wat')).stderr).toBe(
      "error: unknown option '--wat'\n  Add --help for how it is used.\n  more: docs/errors.md#usage\n",
    );
  });

  it('that are defects show where they came from', async () => {
    const cli = await terminalWith(async () => {
      throw new TypeError('oops');
    });
    const { status, stderr } = await cli.run('server');
    expect(status).toBe(3);
    expect(stderr).toMatch(
      /^error: An internal error occurred\..*\n {2}more: docs\/errors\.md#internal\nTypeError: oops\n {4}at /,
    );
  });

  it('after Ctrl-C are only its echo', async () => {
    const cli = await terminalWith(async () => {
      cli.stop.abort();
      throw new AppError('unavailable', 'cut short');
    });
    expect(await cli.run('server')).toEqual({ status: 130, stdout: '', stderr: '' });
  });
});

describe('colour', () => {
  it.each([
    [{ stdoutIsTerminal: true }, [], true],
    [{ stdoutIsTerminal: false }, [], false],
    [{ stdoutIsTerminal: true, env: { NO_COLOR: '1' } }, [], false],
    [{ stdoutIsTerminal: true, env: { TERM: 'dumb' } }, [], false],
    [{ stdoutIsTerminal: false }, ['--color=always'], true],
    [{ stdoutIsTerminal: true, env: { NO_COLOR: '1' } }, ['--color', 'always'], true],
    [{ stdoutIsTerminal: true }, ['--color=never'], false],
  ])('%j %j: %s', async (terminal, argv, coloured) => {
    const { colourChoices, styleFor } = await import('../../src/cli/style.ts');
    const cli = await createTerminal(terminal);
    const given = argv.join('=').split('=')[1];
    const wish = colourChoices.find((choice) => choice === given) ?? 'auto';
    expect(styleFor(wish, cli.world).red('x') !== 'x').toBe(coloured);
  });
});

describe('help', () => {
  it('is exit status 0 when it was asked for, and wrong usage when nothing was', async () => {
    const cli = await createTerminal();
    expect(await cli.run('--help')).toMatchObject({ status: 0, stderr: '' });
    expect(await cli.run()).toMatchObject({ status: 2, stdout: '' });
  });
});

describe('version', () => {
  it('of this program is printed by --version', async () => {
    const cli = await createTerminal();
    expect(await cli.run('--version')).toEqual({ status: 0, stdout: 'writ    0.1.0\n', stderr: '' });
  });

  it('works without a control plane', async () => {
    const cli = await createTerminal();
    expect(await cli.run('version', '--client')).toEqual({ status: 0, stdout: 'writ    0.1.0\n', stderr: '' });
    const { status, stderr } = await cli.run('version');
    expect(status).toBe(0);
    expect(stderr).toContain('server  unknown');
  });
});
