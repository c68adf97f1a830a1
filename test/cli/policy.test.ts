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
      /^DENY {2}shop\/web → shop\/orders {2}GET \/\nrule {4}default-deny\nconsidered\n {2}ALLOW {3}shop\/web-to-orders@1#0 {2}did not match: .*path/,
    );
    expect(stdout).toContain('note    spiffe://example.org/ns/shop/sa/orders has no entry');
  });

  it('says why when no policy applies at all', async () => {
    const cli = await connect();
    const { status, stdout } = await cli.run(...question, '--path', '/');
    expect(status).toBe(1);
    expect(stdout).toContain('No policy applies to shop/orders, and what no rule allows is denied.');
  });

  it('asks about what goes out, and about callers without a certificate', async () => {
    const cli = await connect();
    await cli.file('p.yaml', policyText('open').replace(/spec:\n[\s\S]*/, 'spec: {rules: [{}]}\n'));
    await cli.run('apply', '-f', 'p.yaml');
    const out = await cli.run(...question, '--path', '/', '--egress');
    expect(out.status).toBe(0);
    expect(out.stdout).toContain('asked   the sidecar of the caller, about what goes out\nrule    egress-open\n');
    const [, , , , ...rest] = question;
    const plain = await cli.run('policy', 'check', '--plaintext', ...rest, '--path', '/');
    expect(plain.status).toBe(1);
    expect(plain.stdout).toMatch(/^DENY {2}plain text → shop\/orders {2}GET \/\n/);
    expect(plain.stdout).toContain('Plain text is not let in there');
    for (const bad of [
      ['policy', 'check', ...rest],
      [...question, '--plaintext'],
      [...question, '--header', 'x'],
    ]) {
      expect((await cli.run(...bad, '--path', '/')).status, bad.join(' ')).toBe(2);
    }
  });

  it('takes host, headers and the address of the caller', async () => {
    const cli = await connect();
    const rule =
      '{from: [{source: {ipBlocks: [10.0.0.0/8]}}], to: [{operation: {hosts: [shop]}}], when: [{key: "request.headers[x-tenant]", values: [a]}]}';
    await cli.file('p.yaml', policyText('open').replace(/spec:\n[\s\S]*/, `spec: {rules: [${rule}]}\n`));
    await cli.run('apply', '-f', 'p.yaml');
    const given = ['--path', '/', '--host', 'shop', '--header', 'X-Tenant: a', '--source-ip', '10.1.1.1'];
    expect((await cli.run(...question, ...given)).status).toBe(0);
    expect((await cli.run(...question, ...given.slice(0, -2))).status).toBe(1);
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
