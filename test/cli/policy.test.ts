import { describe, expect, it } from 'vitest';
import { policyText } from '../edge/rest/world.ts';
import { connect } from './server.ts';

const question = ['policy', 'check', '--from', 'shop/web', '--to', 'shop/orders', '--method', 'GET'];

describe('policy check', () => {
  it('allowed: exit status 0, the rule and the line it stands on', async () => {
    const cli = await connect();
    await cli.file('p.yaml', policyText('web-to-orders'));
    await cli.run('apply', '-f', 'p.yaml');
    await cli.run('entry', 'create', 'shop/orders');
    const { status, stdout, stderr } = await cli.run(...question, '--path', '/a/../b');
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout).toBe(
      [
        'ALLOW  shop/web → shop/orders  GET /b',
        'rule    shop/web-to-orders@1#0  (allow-rule)',
        'source  shop/web-to-orders, line 9: - from:',
        '',
      ].join('\n'),
    );
  });

  it('denied: exit status 1, and what each rule lacked', async () => {
    const cli = await connect();
    await cli.file('p.yaml', policyText('web-to-orders', { path: '/only' }));
    await cli.run('apply', '-f', 'p.yaml');
    const { status, stdout } = await cli.run(...question, '--path', '/');
    expect(status).toBe(1);
    expect(stdout).toMatch(
      /^DENY {2}shop\/web → shop\/orders {2}GET \/\nrule {4}default-deny\nconsidered\n {2}ALLOW {2}shop\/web-to-orders@1#0 {2}did not match: .*path/,
    );
    expect(stdout).toContain('note    spiffe://example.org/ns/shop/sa/orders has no entry');
  });

  it('says why when no policy applies at all', async () => {
    const cli = await connect();
    const { status, stdout } = await cli.run(...question, '--path', '/');
    expect(status).toBe(1);
    expect(stdout).toContain('No policy applies to shop/orders, and what no rule allows is denied.');
  });

  it('-o json is the answer of the API; the exit status stays', async () => {
    const cli = await connect();
    const { status, stdout } = await cli.run(...question, '--path', '/', '-o', 'json');
    expect(status).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ decision: 'deny', reason: 'default-deny', policyRevision: 0 });
  });

  it('an unanswerable question is an error, not a verdict', async () => {
    const cli = await connect();
    const { status, stdout, stderr } = await cli.run(...question);
    expect([status, stdout]).toEqual([2, '']);
    const lines = stderr.split('\n');
    expect(lines).toEqual([
      expect.stringMatching(/^error: /),
      expect.stringMatching(/^ {2}request id [0-9a-f-]{36}$/),
      `  more: ${cli.url}/docs/errors#usage`,
      '',
    ]);
    for (const from of ['web', 'spiffe://elsewhere.example/ns/shop/sa/web', 'Shop/../web']) {
      const asked = ['policy', 'check', '--from', from, '--to', 'shop/orders'];
      expect((await cli.run(...asked)).status, from).toBe(2);
    }
    expect((await cli.run('policy', 'check', '--from', 'shop/web')).status).toBe(2);
    expect((await cli.run(...question, '--path', '/', '--port', '70000')).status).toBe(2);
  });
});
