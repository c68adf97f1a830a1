import { execFile } from 'node:child_process';
import { access, chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { policyText } from '../edge/rest/world.ts';
import { tempDirectory } from '../support/temp.ts';
import { itWithTools } from '../support/tools.ts';
import { connect } from './server.ts';
import { createTerminal } from './terminal.ts';

const scripts = resolve('src/cli/complete');

/** Names of a server that means harm: each would make the file `pwned` if a shell ever ran it. */
const hostile = [
  's/$(touch pwned)',
  '`touch pwned`',
  "a';touch pwned;'",
  'b";touch pwned;"',
  '~/x',
  '*',
  'c|touch pwned',
];

/** A directory with a `writ` that answers with these lines, and writes what it was asked to the file `asked`. */
async function pretend(...lines: readonly string[]) {
  const cwd = await tempDirectory();
  await mkdir(join(cwd, 'bin'));
  await writeFile(join(cwd, 'answer'), lines.map((line) => `${line}\n`).join(''));
  const program = `#!/bin/sh\nfor word in "$@"; do printf '<%s>' "$word"; done > '${cwd}/asked'\necho noise >&2\ncat '${cwd}/answer'\n`;
  await writeFile(join(cwd, 'bin/writ'), program);
  await chmod(join(cwd, 'bin/writ'), 0o755);
  await writeFile(join(cwd, 'file-1'), '');
  return cwd;
}

async function shell(name: string, argv: readonly string[], cwd: string, env: Record<string, string> = {}) {
  const { stdout, stderr } = await promisify(execFile)(name, [...argv], {
    cwd,
    env: { ...process.env, PATH: `${join(cwd, 'bin')}:${process.env.PATH}`, HOME: cwd, ...env },
  });
  expect(stderr).toBe('');
  await expect(access(join(cwd, 'pwned'))).rejects.toThrow('ENOENT');
  return stdout;
}

/** What bash is offered with the cursor at the end of `line`, which readline breaks into `words`. */
async function bash(cwd: string, line: string, words: readonly string[], env: Record<string, string> = {}) {
  const script = `source '${scripts}/writ.bash'
    COMP_LINE=$1; COMP_POINT=\${#1}; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
    _writ
    for reply in "\${COMPREPLY[@]}"; do printf '%s\\n' "$reply"; done
    # What is inserted is read again by bash, when the user presses return.
    for reply in "\${COMPREPLY[@]}"; do eval "set -- $reply"; printf '= %s\\n' "$@"; done`;
  const lines = (await shell('bash', ['-c', script, 'bash', line, ...words], cwd, env)).trimEnd().split('\n');
  return {
    inserted: lines.filter((each) => !each.startsWith('= ')),
    means: lines.filter((each) => each.startsWith('= ')).map((each) => each.slice(2)),
  };
}

describe('the script of bash', () => {
  itWithTools(['bash'], 'quotes every name, so that it is one word of text and nothing is run', async () => {
    const cwd = await pretend('words', ...hostile, 'shop/web');
    const { inserted, means } = await bash(cwd, 'writ get policies ', ['writ', 'get', 'policies', '']);
    expect(means).toEqual([...hostile, 'shop/web']);
    expect(inserted.at(-1)).toBe('shop/web');
    for (const word of inserted) expect(word.replaceAll(/\\./g, '')).toMatch(/^[\w/. ]*$/);
  });

  itWithTools(['bash'], 'asks with the words of the command where readline breaks them at : and =', async () => {
    const cwd = await pretend('words', '--color=always\tin colour');
    const { inserted } = await bash(cwd, 'writ  --color=al', ['writ', '--color', '=', 'al']);
    expect(inserted).toEqual(['always']);
    expect(await asked(cwd)).toBe('<__complete><--><--color=al>');
    expect((await bash(cwd, 'writ --color=', ['writ', '--color', '='])).inserted).toEqual(['always']);
    const words = ['writ', 'get', 'entry', 'spiffe', ':', '//e'];
    await bash(cwd, 'writ get entry spiffe://e', words);
    expect(await asked(cwd)).toBe('<__complete><--><get><entry><spiffe://e>');
    await bash(cwd, 'writ get policy "shop/w', ['writ', 'get', 'policy', '"shop/w']);
    expect(await asked(cwd)).toBe('<__complete><--><get><policy><shop/w>');
  });

  itWithTools(['bash'], 'asks only with what stands before the cursor, and works without the line too', async () => {
    const cwd = await pretend('words', 'policies');
    const script = (given: string) =>
      `source '${scripts}/writ.bash'; ${given} COMP_WORDS=(writ get policies); COMP_CWORD=2; _writ; echo "\${COMPREPLY[@]}"`;
    expect(await shell('bash', ['-c', script('COMP_LINE="writ get policies"; COMP_POINT=12;')], cwd)).toBe(
      'policies\n',
    );
    expect(await asked(cwd)).toBe('<__complete><--><get><pol>');
    await shell('bash', ['-c', script('')], cwd);
    expect(await asked(cwd)).toBe('<__complete><--><get><policies>');
  });

  itWithTools(['bash'], 'offers files where a file is meant', async () => {
    const cwd = await pretend('files');
    expect((await bash(cwd, 'writ apply -f fi', ['writ', 'apply', '-f', 'fi'])).inserted).toEqual(['file-1']);
    const glued = await bash(cwd, 'writ apply --filename=fi', ['writ', 'apply', '--filename', '=', 'fi']);
    expect(glued.inserted).toEqual(['file-1']);
  });

  itWithTools(['bash'], 'completes names of a real control plane through the real program', async () => {
    const cli = await connect();
    await cli.file('p.yaml', `${policyText('orders')}---\n${policyText('web')}`);
    await cli.run('apply', '-f', 'p.yaml');
    await mkdir(join(cli.cwd, 'bin'));
    const program = `#!/bin/sh\nexec '${process.execPath}' '${resolve('src/main/cli.ts')}' "$@"\n`;
    await writeFile(join(cli.cwd, 'bin/writ'), program, { mode: 0o755 });
    const env = { WRIT_ADDR: cli.url, WRIT_TOKEN_FILE: cli.tokenFile };
    const line = 'writ delete policy shop/';
    const { inserted } = await bash(cli.cwd, line, line.split(' '), env);
    expect(inserted).toEqual(['shop/orders', 'shop/web']);
    const away = await bash(cli.cwd, line, line.split(' '), { ...env, WRIT_ADDR: 'http://127.0.0.1:1' });
    expect(away.inserted).toEqual(['']);
  });
});

describe('the script of zsh', () => {
  // Outside of its line editor zsh has no compadd; what the function gives to it is what is inserted, quoted by zsh.
  const around = `compdef() { :; }; compset() { :; }; _files() { print -r -- FILES; }
    compadd() { print -rl -- "\${(@)values}"; print -rl -- "\${(@)shown}"; }; source '${scripts}/writ.zsh'`;

  itWithTools(['zsh'], 'hands on every name as it is, and runs nothing', async () => {
    const cwd = await pretend('words', ...hostile, 'get\tShow objects.');
    const script = `${around}; words=(writ 'a\\ b' ''); CURRENT=3; PREFIX=g; _writ`;
    const lines = (await shell('zsh', ['-f', '-c', script], cwd)).trimEnd().split('\n');
    expect(lines).toEqual([...hostile, 'get', ...hostile, 'get  -- Show objects.']);
    expect(await asked(cwd)).toBe('<__complete><--><a b><g>');
  });

  itWithTools(
    ['zsh'],
    'asks with one empty word at the first TAB, and offers files where a file is meant',
    async () => {
      const cwd = await pretend('files');
      const script = `${around}; words=(writ ''); CURRENT=2; PREFIX=''; _writ`;
      expect(await shell('zsh', ['-f', '-c', script], cwd)).toBe('FILES\n');
      expect(await asked(cwd)).toBe('<__complete><--><>');
    },
  );
});

describe('the script of fish', () => {
  const fish = (cwd: string, line: string) =>
    shell('fish', ['--no-config', '-c', `source '${scripts}/writ.fish'; complete -C $argv[1]`, line], cwd);

  itWithTools(['fish'], 'hands on every name as it is, and runs nothing', async () => {
    const cwd = await pretend('words', 's/$(touch pwned)', 's/`touch pwned`', 's/a\tdescribed');
    expect(await fish(cwd, 'writ get "a b" s/')).toBe('s/$(touch pwned)\ns/`touch pwned`\ns/a\tdescribed\n');
    expect(await asked(cwd)).toBe('<__complete><--><get><a b><s/>');
  });

  itWithTools(['fish'], 'offers files where a file is meant', async () => {
    const cwd = await pretend('files');
    expect(await fish(cwd, 'writ apply -f fi')).toMatch(/^file-1\b/);
    expect(await fish(cwd, 'writ apply --filename=fi')).toMatch(/^--filename=file-1\b/);
  });
});

describe('writ completion', () => {
  it('prints the script of the shell, and says which shells there are', async () => {
    const cli = await createTerminal();
    for (const name of ['bash', 'zsh', 'fish']) {
      const { status, stdout, stderr } = await cli.run('completion', name);
      expect([status, stderr]).toEqual([0, '']);
      expect(stdout).toContain('writ __complete -- ');
    }
    const { status, stdout, stderr } = await cli.run('completion', 'bsh');
    expect([status, stdout]).toEqual([2, '']);
    expect(stderr).toContain('There is no completion for "bsh", only for bash, zsh, fish. Did you mean bash?');
    expect((await cli.run('completion')).status).toBe(2);
  });
});

async function asked(cwd: string): Promise<string> {
  return readFile(join(cwd, 'asked'), 'utf8');
}
