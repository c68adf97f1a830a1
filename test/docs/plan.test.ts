import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Connected } from '../cli/server.ts';
import { connect } from '../cli/server.ts';
import { recordCalls } from '../support/recorded-calls.ts';

/** A page from top to bottom: files that it says to save, and commands, each with the status that it says. */
async function follow(page: string, cli: Connected): Promise<readonly string[]> {
  const text = await readFile(new URL(`../../docs/${page}`, import.meta.url), 'utf8');
  const blocks = text.matchAll(/(?:Save as `([^`]+)`:\n\n)?```(yaml|sh)\n([\s\S]*?)```/g);
  const run: string[] = [];
  for (const [, file, language, body = ''] of blocks) {
    if (language === 'yaml') {
      expect(file, body).toBeDefined();
      const path = join(cli.world.cwd, file ?? '');
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, body);
      continue;
    }
    for (const line of body.trimEnd().split('\n')) {
      const [, command = '', , into, , status = '0'] = /^writ (.*?)( > (\S+))?\s*(# ends with (\d))?$/.exec(line) ?? [];
      expect(command, line).not.toBe('');
      const result = await cli.run(...command.split(' '));
      expect({ line, status: result.status, stderr: result.status === 2 ? result.stderr : '' }).toEqual({
        line,
        status: Number(status),
        stderr: '',
      });
      if (into !== undefined) await writeFile(join(cli.world.cwd, into), result.stdout);
      run.push(line);
    }
  }
  return run;
}

const text = `apiVersion: writ.dev/v1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec: {rules: [{from: [{source: {namespaces: [shop]}}]}]}
`;

/** A mesh in which everybody of the shop may do everything with orders, and web has read and written. */
async function mesh(): Promise<Connected> {
  const cli = await connect();
  const { policy } = await cli.rest.policies.put({ source: text, author: 'test' });
  const seen = {
    ...{ source: 'spiffe://example.org/ns/shop/sa/web', destination: 'spiffe://example.org/ns/shop/sa/orders' },
    ...{
      rule: `shop/orders@${policy.revision}#0`,
      policyRevision: policy.revision,
      time: cli.rest.clock.now() - 7_200_000,
    },
  };
  await recordCalls(cli.rest.store, [seen, { ...seen, method: 'POST', path: '/orders' }]);
  return cli;
}

describe('the pages about what a change would do', () => {
  it('docs/plan.md: every command does what it says', async () => {
    expect(await follow('plan.md', await mesh())).toHaveLength(6);
  });

  it('docs/policy-tests.md: every command does what it says', async () => {
    expect(await follow('policy-tests.md', await mesh())).toHaveLength(4);
  });
});
