import { mkdir, readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { junitXml } from '../../src/cli/junit.ts';
import { policyText } from '../edge/rest/world.ts';
import { recordCalls } from '../support/recorded-calls.ts';
import type { Connected } from './server.ts';
import { connect } from './server.ts';
import { createTerminal } from './terminal.ts';

const web = 'spiffe://example.org/ns/shop/sa/web';
const orders = 'spiffe://example.org/ns/shop/sa/orders';

const cases = `apiVersion: writ.dev/v1
kind: PolicyTest
trustDomain: example.org
cases:
- name: web reads orders
  from: shop/web
  to: shop/orders
  method: GET
  path: /orders/1
  expect: allow
  rule: shop/orders#0
- {name: nobody else does, from: shop/batch, to: shop/orders, method: GET, path: /orders/1, expect: deny}
`;

/** With a policy in force, by which two calls were let in. */
async function withTraffic(): Promise<Connected & { readonly rule: string; readonly ids: readonly string[] }> {
  const cli = await connect();
  const put = { source: policyText('orders', { path: '/orders/*' }), author: 'test' };
  const { policy } = await cli.rest.policies.put(put);
  const rule = `shop/orders@${policy.revision}#0`;
  const time = cli.rest.clock.now() - 60_000;
  const seen = { source: web, destination: orders, rule, policyRevision: policy.revision, time };
  const ids = await recordCalls(cli.rest.store, [seen, { ...seen, path: '/orders/2' }]);
  return { ...cli, rule, ids };
}

function folder(cli: Pick<Connected, 'world'>): Promise<unknown> {
  return mkdir(`${cli.world.cwd}/shop`);
}

describe('writ policy plan', () => {
  it('shows what would be decided otherwise, with an example, and ends with 1', async () => {
    const cli = await withTraffic();
    await cli.file('orders.yaml', policyText('orders', { path: '/orders/1' }));
    const { status, stdout, stderr } = await cli.run('policy', 'plan', '-f', 'orders.yaml');
    expect([status, stderr]).toEqual([1, '']);
    expect(stdout.split('\n')).toEqual([
      'replace  AuthorizationPolicy shop/orders',
      expect.stringMatching(/^2 calls replayed, recorded .+ to .+, against revision \d+\.$/),
      'Newly denied: 1 call',
      expect.stringMatching(/^ {2}CALLS {2}FROM +TO +OPERATION +LAST +BEFORE +AFTER +EXAMPLE$/),
      expect.stringContaining(`shop/web  shop/orders  GET /orders/2  60s   ${cli.rule}  default-deny  ${cli.ids[1]}`),
      '',
    ]);
  });

  it('ends with 0 when nothing would change, and runs the expectations that lie beside the policies', async () => {
    const cli = await withTraffic();
    await folder(cli);
    await cli.file('shop/orders.yaml', policyText('orders', { path: '/orders/*' }));
    await cli.file('shop/cases.yaml', cases);
    const met = await cli.run('policy', 'plan', '-f', 'shop');
    expect([met.status, met.stderr]).toEqual([0, '']);
    expect(met.stdout).toContain('same     AuthorizationPolicy shop/orders\n');
    expect(met.stdout).toContain('No recorded call would be decided otherwise.\nExpectations: 2 met, 0 not.\n');
    const none = await cli.run('policy', 'plan', '--since', '30s', '-f', 'shop/orders.yaml');
    expect(none.stdout).toContain('note  No call was recorded in the window');
  });

  it('plans deletions by name, and what --prune would delete', async () => {
    const cli = await withTraffic();
    const named = await cli.run('policy', 'plan', '--delete', 'policy/shop/orders', '-o', 'json');
    expect([named.status, JSON.parse(named.stdout).newlyDenied.calls]).toEqual([1, 2]);
    await cli.file('other.yaml', policyText('other'));
    const pruned = await cli.run('policy', 'plan', '-f', 'other.yaml', '--prune', '-n', 'shop', '-o', 'json');
    expect(JSON.parse(pruned.stdout).changes).toMatchObject([
      { name: 'other', operation: 'create' },
      { name: 'orders', operation: 'delete' },
    ]);
    expect(await cli.run('policy', 'plan', '--delete', 'shop/orders')).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('is not KIND/NAMESPACE/NAME'),
    });
  });

  it('says where a file is wrong, and asks nobody', async () => {
    const cli = await createTerminal();
    await cli.file('bad.yaml', policyText('web').replace('GET', 'get'));
    await cli.file('cases.yaml', cases.replace('expect: allow', 'expect: maybe'));
    const policy = await cli.run('policy', 'plan', '-f', 'bad.yaml');
    expect(policy.stderr).toContain('bad.yaml:14:23: The method "get"');
    const expectation = await cli.run('policy', 'plan', '--expect', 'cases.yaml');
    expect(expectation.stderr).toContain('cases.yaml:10:11: What is expected is "allow" or "deny", not "maybe".');
  });
});

describe('writ policy test', () => {
  it('runs expectations over files without a control plane, lists them, and writes JUnit XML', async () => {
    const cli = await createTerminal();
    await folder(cli);
    await cli.file('shop/orders.yaml', policyText('orders', { path: '/orders/*' }));
    await cli.file('shop/cases.yaml', cases);
    const met = await cli.run('policy', 'test', '-f', 'shop', '--policies', 'shop');
    expect(met).toMatchObject({
      status: 0,
      stderr: '',
      stdout: '  ✓ web reads orders\n  ✓ nobody else does\n2 cases: 2 met, 0 not.\n',
    });
    await cli.file('shop/orders.yaml', policyText('orders', { path: '/other' }));
    const failed = await cli.run('policy', 'test', '-f', 'shop/cases.yaml', '--policies', 'shop', '--junit', 'out.xml');
    expect(failed.status).toBe(1);
    expect(
      failed.stdout,
    ).toBe(`  ✗ web reads orders (shop/cases.yaml:5): expected allow by shop/orders#0, got deny by default-deny
      shop/orders@0#0 did not match: path "/orders/1" is none of [/other]
  ✓ nobody else does
2 cases: 1 met, 1 not.
`);
    const xml = await readFile(`${cli.world.cwd}/out.xml`, 'utf8');
    expect(xml).toContain('<testsuites name="writ policy test" tests="2" failures="1" errors="0">');
    expect(xml).toContain(
      '<testcase name="web reads orders" classname="shop/cases.yaml" file="shop/cases.yaml" line="5">',
    );
    expect(xml).toContain('path &#34;/orders/1&#34; is none of [/other]</failure></testcase>');
  });

  it('asks the control plane about the policies in force', async () => {
    const cli = await withTraffic();
    await cli.file('cases.yaml', cases);
    const { status, stdout } = await cli.run('policy', 'test', '-f', 'cases.yaml', '-o', 'json');
    expect([status, JSON.parse(stdout)]).toMatchObject([
      0,
      [{ passed: true, file: 'cases.yaml', line: 5 }, { line: 12 }],
    ]);
  });

  it('says when there is nothing to run, and when nobody knows the trust domain', async () => {
    const cli = await createTerminal();
    await folder(cli);
    await cli.file('shop/orders.yaml', policyText('orders'));
    expect((await cli.run('policy', 'test', '-f', 'shop', '--policies', 'shop')).stderr).toContain('no expectations');
    await cli.file('cases.yaml', cases.replace('trustDomain: example.org\n', ''));
    const { status, stderr } = await cli.run('policy', 'test', '-f', 'cases.yaml', '--policies', 'shop');
    expect([status, stderr]).toEqual([2, expect.stringContaining('cases.yaml names no trustDomain')]);
  });

  it('leaves expectations out when a folder is applied', async () => {
    const cli = await connect();
    await folder(cli);
    await cli.file('shop/orders.yaml', policyText('orders'));
    await cli.file('shop/cases.yaml', cases);
    expect(await cli.run('apply', '-f', 'shop')).toMatchObject({ status: 0, stderr: '' });
    expect((await cli.run('apply', '-f', './shop/cases.yaml')).stderr).toContain('PolicyTest');
  });
});

describe('writ policy suggest', () => {
  it('writes a policy that can be planned in place of those in force', async () => {
    const cli = await withTraffic();
    const { status, stdout, stderr } = await cli.run('policy', 'suggest', '--for', 'shop/orders', '--since', '1h');
    expect([status, stderr]).toEqual([0, 'It takes nothing away as long as these are in force: shop/orders\n']);
    expect(stdout).toContain('        - "/orders/1" # 1\n');
    await cli.file('suggested.yaml', stdout);
    const plan = await cli.run('policy', 'plan', '-f', 'suggested.yaml', '--delete', 'policy/shop/orders');
    expect([plan.status, plan.stdout]).toEqual([
      0,
      expect.stringContaining('No recorded call would be decided otherwise.'),
    ]);
    expect((await cli.run('policy', 'suggest', '--for', 'orders')).stderr).toContain('--for must be NAMESPACE/SERVICE');
  });
});

it('JUnit XML holds nothing that XML does not, whatever the names', () => {
  const name = 'a<b>&"\u0000\u001b\ud800\n]]>';
  const xml = junitXml('x', [{ name, file: name, line: null, failure: { message: name, text: name } }]);
  expect(xml).toContain('name="a&#60;b&#62;&#38;&#34;\ufffd\ufffd\ufffd&#10;]]&#62;"');
});
