import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { adminActions } from '../../src/core/audit/admin-event.ts';
import { may, permissions, roles } from '../../src/core/identity/roles.ts';
import { policyText } from '../edge/rest/world.ts';
import { openAdminLedger } from '../support/admin-ledger.ts';
import { connect } from './server.ts';

const pageOf = (name: string) => readFileSync(join(import.meta.dirname, `../../docs/${name}.md`), 'utf8');

/** The commands of a page, in order, as a shell splits them. */
function commandsOf(page: string): string[][] {
  return [...page.matchAll(/```sh\n([\s\S]*?)```/g)]
    .flatMap(([, block = '']) => block.trim().split('\n'))
    .map((line) => [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, word]) => quoted ?? word ?? '').slice(1));
}

describe('docs/admin-audit.md', () => {
  it('has commands that work, one after the other', async () => {
    const { trail, index, log, settle } = await openAdminLedger();
    const cli = await connect({ deps: { trail, audit: index, log } });
    await cli.file('web.yaml', policyText('web'));
    expect((await cli.run('apply', '-f', 'web.yaml')).status).toBe(0);
    await settle();
    const found = await cli.run('audit', 'admin', '--operation', 'putPolicy', '-o', 'name');
    const id = found.stdout.trim();
    expect(id).toMatch(/^control-1\.1\.\d+$/);
    const commands = commandsOf(pageOf('admin-audit'));
    expect(commands.length).toBeGreaterThan(6);
    for (const words of commands) {
      const { status, stdout, stderr } = await cli.run(...words.map((word) => word.replace('EVENT_ID', id)));
      expect({ words, status, stderr: status === 0 ? '' : stderr }).toEqual({ words, status: 0, stderr: '' });
      if (words.includes('/v1/policies/shop/*')) expect(stdout).toContain('putPolicy');
      if (words.at(-1) === 'EVENT_ID') expect(stdout).toContain('+kind: AuthorizationPolicy');
    }
    await cli.run('audit', 'log', '--policy').then(({ stdout }) => cli.file('policy.txt', stdout));
    const verified = await cli.run('audit', 'verify', 'change.tlog-proof', '--policy', 'policy.txt');
    expect(verified.stdout).toMatch(/^ {2}operation +putPolicy$/m);
  });

  it('names every action', () => {
    expect(adminActions.filter((action) => !pageOf('admin-audit').includes(`\`${action}\``))).toEqual([]);
  });
});

describe('docs/roles.md', () => {
  it('has commands that work, one after the other', async () => {
    const cli = await connect();
    const commands = commandsOf(pageOf('roles'));
    expect(commands.length).toBeGreaterThan(5);
    for (const words of commands) {
      const { status, stderr } = await cli.run(...words);
      expect({ words, status, stderr: status === 0 ? '' : stderr }).toEqual({ words, status: 0, stderr: '' });
    }
  });

  it('has the table of permissions as it is', () => {
    const lines = pageOf('roles').split('\n');
    for (const permission of permissions) {
      const cells = roles.map((role) => (may(role, permission) ? 'yes' : '–')).join(' | ');
      const line = lines.find((each) => each.startsWith(`| \`${permission}\` |`));
      expect(line, permission).toMatch(`| \`${permission}\` | ${cells} | `);
    }
    for (const role of roles) expect(pageOf('roles')).toContain(`| \`${role}\` | `);
  });
});
