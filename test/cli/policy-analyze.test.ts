import { describe, expect, it } from 'vitest';
import { policyText } from '../edge/rest/world.ts';
import { connect } from './server.ts';
import { createTerminal } from './terminal.ts';

const bad = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: bad, namespace: shop}
spec:
  rules:
  - to: [{operation: {methods: [get]}}]
`;
const odd = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: odd, namespace: shop}
spec:
  rules:
  - from: [{source: {notRequestPrincipals: ["a/*"]}}]
  - from: [{source: {namespaces: [a], notNamespaces: [a]}}]
`;

describe('writ policy analyze', () => {
  it('lists errors and warnings of files with their places, without a control plane, and ends with 79', async () => {
    const cli = await createTerminal();
    await cli.file('bad.yaml', bad);
    await cli.file('odd.yaml', odd);
    const { status, stdout, stderr } = await cli.run('policy', 'analyze', '-f', 'bad.yaml', '-f', 'odd.yaml');
    expect([status, stderr]).toEqual([79, '']);
    const lines = stdout.trimEnd().split('\n');
    expect(lines).toHaveLength(4);
    expect(lines[0]).toMatch(/^error {4}bad\.yaml:6:33: The method "get" .* \[invalid-method\]$/);
    expect(lines[1]).toMatch(/^warning {2}odd\.yaml:6:22: This ALLOW says only .* \[matches-absent\]$/);
    expect(lines[2]).toMatch(/^warning {2}odd\.yaml:7:5: The rule can match no call: .* \[never-matches\]$/);
    expect(lines[3]).toBe('3 findings.');
  });

  it('ends with 0 when there is nothing to say', async () => {
    const cli = await createTerminal();
    await cli.file('web.yaml', policyText('web', { path: '/a' }));
    expect(await cli.run('policy', 'analyze', '-f', 'web.yaml')).toMatchObject({
      status: 0,
      stdout: 'Nothing found.\n',
    });
  });

  it('gives findings as data', async () => {
    const cli = await createTerminal();
    await cli.file('odd.yaml', odd);
    const { status, stdout } = await cli.run('policy', 'analyze', '-f', 'odd.yaml', '-o', 'json');
    expect(status).toBe(79);
    expect(JSON.parse(stdout)).toMatchObject([
      { code: 'matches-absent', severity: 'warning', file: 'odd.yaml', line: 6, column: 22 },
      { code: 'never-matches', severity: 'warning', pointer: '/spec/rules/1' },
    ]);
  });

  it('looks at what is in force, and at files beside the entries that are there', async () => {
    const cli = await connect();
    await cli.file('odd.yaml', odd);
    await cli.run('apply', '-f', 'odd.yaml');
    const live = await cli.run('policy', 'analyze');
    expect(live.status).toBe(79);
    expect(live.stdout).toMatch(/policy\/shop\/odd:7:5: The rule can match no call/);
    const unknown = bad
      .replace('bad', 'who')
      .replace('to: [{operation: {methods: [get]}}]', 'from: [{source: {serviceAccounts: [wbe]}}]');
    await cli.file('who.yaml', unknown);
    expect((await cli.run('policy', 'analyze', '-f', 'who.yaml')).status).toBe(0);
    const { status, stdout } = await cli.run('policy', 'analyze', '-f', 'who.yaml', '--live');
    expect(status).toBe(79);
    expect(stdout).toContain('No workload is the service account "shop/wbe"');
  });

  it('knows the ports of the workloads, the trust domains that are let in, and the authorizers', async () => {
    const cli = await connect();
    const id = 'spiffe://example.org/ns/shop/sa/db';
    await cli.run('entry', 'create', 'shop/db', '--label', 'app=db');
    cli.rest.proxies.push({
      ...{ instanceId: 'i', spiffeId: id, version: '0.1.0', connected: true, state: 'synced', serving: true },
      ...{ desiredRevision: 0, desiredChange: null, staleSince: null, acknowledgedRevision: 0, acknowledgedAt: 0 },
      ...{ connectedSince: 0, lastSeen: 0, endpoints: [], lastError: null },
      ports: [{ applicationPort: 5432, protocol: 'tcp' }],
    });
    const policy = (name: string, spec: string) =>
      `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: ${name}, namespace: shop}\nspec: {${spec}}\n---\n`;
    const db = 'selector: {matchLabels: {app: db}}';
    await cli.file(
      'all.yaml',
      policy('http', `${db}, rules: [{to: [{operation: {methods: [GET]}}]}]`) +
        policy('foreign', `${db}, rules: [{from: [{source: {trustDomains: [other.org]}}]}]`) +
        policy('ask', `${db}, action: CUSTOM, provider: {name: opa}, rules: [{}]`),
    );
    const { status, stdout } = await cli.run('policy', 'analyze', '-f', 'all.yaml', '--live', '-o', 'json');
    expect(status).toBe(79);
    const codes = (JSON.parse(stdout) as { readonly code: string; readonly severity: string }[]).map(
      ({ code, severity }) => `${severity} ${code}`,
    );
    expect(codes).toEqual(['error http-rule-on-tcp', 'warning unknown-trust-domain', 'warning unknown-provider']);
  });

  it('refuses --live without files, and files that are not there', async () => {
    const cli = await createTerminal();
    expect(await cli.run('policy', 'analyze', '--live')).toMatchObject({ status: 2 });
    expect(await cli.run('policy', 'analyze', '-f', 'none.yaml')).toMatchObject({ status: 2 });
  });
});
