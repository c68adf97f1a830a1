import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { describe, expect, it, onTestFinished } from 'vitest';
import { WatchSource } from '../../src/base/watch.ts';
import type { TestAuthority } from '../support/pki.ts';
import { createTestAuthority } from '../support/pki.ts';
import { connect } from './server.ts';

/** A REST server whose info names a real TLS listener with a certificate of `authority`, and a health listener. */
async function mesh(o: { servedBy?: TestAuthority; servedAs?: string; ready?: number; version?: string } = {}) {
  const now = Date.UTC(2026, 0, 1);
  const authority = createTestAuthority({ now });
  const svid = (o.servedBy ?? authority).issue(o.servedAs ?? 'spiffe://example.org/writ/control-plane');
  const tls = createTlsServer({ cert: svid.pem.cert, key: svid.pem.key, ALPNProtocols: ['h2'], minVersion: 'TLSv1.3' });
  tls.on('tlsClientError', () => undefined);
  const health = createServer((_request, response) => response.writeHead(o.ready ?? 200).end());
  for (const server of [tls, health]) {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
  }
  const at = (server: { address(): unknown }) => `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const skews = new Map<string, number>();
  const cli = await connect({
    deps: {
      bundle: new WatchSource(authority.bundle),
      nodeClocks: [{ clockSkewMs: (instanceId) => skews.get(instanceId) ?? null }],
      info: { version: o.version ?? '0.1.0', addresses: { gRPC: at(tls), health: at(health) } },
    },
    // The date that a real server sends is today's, the test's clock is not.
    fetch: async (url, init) => {
      const response = await fetch(url, init);
      const headers = { ...Object.fromEntries(response.headers), date: new Date(now + skew.ms).toUTCString() };
      return new Response(response.body, { status: response.status, headers });
    },
  });
  const skew = { ms: 0 };
  return { cli, skew, skews, authority };
}

const synced = {
  instanceId: 'i-1',
  spiffeId: 'spiffe://example.org/ns/shop/sa/web',
  version: '0.1.0',
  connected: true,
  state: 'synced' as const,
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
};

describe('check', () => {
  it('tells group by group what is well', async () => {
    const { cli } = await mesh();
    cli.rest.proxies.push(synced);
    const { status, stdout } = await cli.run('check');
    expect(stdout.replaceAll(/127\.0\.0\.1:\d+/g, 'ADDRESS')).toBe(
      [
        'control plane',
        '√ REST answers and accepts the token: http://ADDRESS, trust domain example.org',
        '√ versions match: 0.1.0',
        '√ clocks agree',
        '√ it is ready',
        '',
        'trust',
        '√ the bundle has valid roots: 1 root, valid for 365 days',
        '√ gRPC presents a certificate that the bundle verifies: ADDRESS, valid for 60m',
        '',
        'sidecars',
        '√ all are connected and hold the latest policy: 1 in sync',
        '',
        'policies',
        '√ none has ended or ends within a week',
        '',
        'nodes',
        '- clocks of agents and sidecars agree with the control plane: none is connected',
        '',
        'Status: √ well',
        '',
      ].join('\n'),
    );
    expect(status).toBe(0);
  });

  it('warnings have a hint and do not fail', async () => {
    const { cli, skew } = await mesh({ version: '0.2.0' });
    skew.ms = 60_000;
    cli.rest.proxies.push({ ...synced, state: 'disconnected', connected: false });
    const { status, stdout } = await cli.run('check');
    expect(status).toBe(0);
    expect(stdout).toContain('‼ versions match: this program is 0.1.0, the server 0.2.0\n    → Neighbouring versions');
    expect(stdout).toContain('‼ clocks agree: they differ by 60s\n    → Synchronise both with NTP');
    expect(stdout).toContain('‼ all are connected and hold the latest policy: shop/web is disconnected\n    → ');
  });

  it('a clock of this machine that is 5 minutes off is reported, in either direction', async () => {
    for (const ms of [300_000, -300_000]) {
      const { cli, skew } = await mesh();
      skew.ms = ms;
      const { stdout } = await cli.run('check');
      expect(stdout).toMatch(/‼ clocks agree: they differ by (5m|4m|299s|300s)\n {4}→ Synchronise both with NTP/);
    }
  });

  it('a clock of an agent or a sidecar that is 5 minutes off is reported by name, the worst first', async () => {
    const { cli, skews } = await mesh();
    const admit = async (instanceId: string, spiffeId: string, clockSkewMs: number | undefined) => {
      const isAgent = spiffeId.includes('/writ/agent/');
      await cli.rest.nodes.admit({
        instanceId,
        spiffeId,
        kind: isAgent ? 'agent' : 'workload',
        method: 'join_token',
        subject: instanceId,
        entryId: null,
        selectors: [],
        canReattest: false,
        serial: 'a0',
        expiresAt: cli.rest.clock.now() + 3_600_000,
      });
      if (clockSkewMs !== undefined) skews.set(instanceId, clockSkewMs);
    };
    const title = 'clocks of agents and sidecars agree with the control plane';
    await admit('away', 'spiffe://example.org/ns/shop/sa/away', undefined);
    await admit('a', 'spiffe://example.org/writ/agent/t/a', 4_900);
    expect((await cli.run('check')).stdout).toContain(`√ ${title}: 1 connected`);
    await admit('b', 'spiffe://example.org/writ/agent/t/b', 7_000);
    const warned = await cli.run('check');
    expect(warned.status).toBe(0);
    expect(warned.stdout).toContain(
      `‼ ${title}: spiffe://example.org/writ/agent/t/b (b) is 7s ahead\n    → Synchronise`,
    );
    await admit('c', 'spiffe://example.org/ns/shop/sa/web', -300_000);
    const { status, stdout } = await cli.run('check');
    expect(status).toBe(1);
    expect(stdout).toContain(
      `× ${title}: shop/web (c) is 5m behind, spiffe://example.org/writ/agent/t/b (b) is 7s ahead\n    → Synchronise`,
    );
  });

  it('a grant that ends within a week or has ended is a warning, the nearest end first; one that ends later is none', async () => {
    const { cli } = await mesh();
    const { clock, policies } = cli.rest;
    const title = 'none has ended or ends within a week';
    const put = (name: string, days: number) =>
      policies.put({
        author: 'test',
        source: `apiVersion: writ.dev/v1
kind: AuthorizationPolicy
metadata: {name: ${name}, namespace: shop}
spec:
  validity: {notAfter: "${new Date(clock.now() + days * 86_400_000).toISOString()}"}
  rules: [{from: [{source: {namespaces: [shop]}}]}]
`,
      });
    await put('later', 8);
    expect((await cli.run('check')).stdout).toContain(`√ ${title}: 1 that end later`);
    await put('soon', 7);
    await put('over', -3);
    const { status, stdout } = await cli.run('check');
    expect(status).toBe(0);
    expect(stdout).toContain(
      `‼ ${title}: shop/over ended 3d ago, shop/soon ends in 7d\n    → What only they allow is denied`,
    );
    expect((await cli.run('get', 'policies', '-o', 'wide')).stdout).toMatch(/ ENDS .*\n.* in 8d /);
  });

  it('fails when gRPC is served by another authority', async () => {
    const { cli } = await mesh({ servedBy: createTestAuthority({ now: Date.UTC(2026, 0, 1) }) });
    const { status, stdout } = await cli.run('check');
    expect(status).toBe(1);
    expect(stdout).toMatch(
      /× gRPC presents a certificate that the bundle verifies: The peer's certificate is refused.*\n {4}→ Something else listens there/,
    );
  });

  it('fails when gRPC is served by a workload', async () => {
    const { cli } = await mesh({ servedAs: 'spiffe://example.org/ns/shop/sa/web' });
    const { status, stdout } = await cli.run('check');
    expect(status).toBe(1);
    expect(stdout).toContain('it is spiffe://example.org/ns/shop/sa/web, not spiffe://example.org/writ/control-plane');
  });

  it('fails when a sidecar rejected its policy, or the server is not ready', async () => {
    const { cli } = await mesh({ ready: 503 });
    cli.rest.proxies.push({ ...synced, state: 'rejected', lastError: 'unknown field' });
    const { status, stdout } = await cli.run('check', '-o', 'json');
    expect(status).toBe(1);
    const report = JSON.parse(stdout);
    expect(report.ok).toBe(false);
    const bad = report.checks.filter((check: { status: string }) => check.status === 'failed');
    expect(bad.map((check: { title: string }) => check.title)).toEqual([
      'it is ready',
      'all are connected and hold the latest policy',
    ]);
  });

  it('with a wrong token fails, and skips what it cannot know', async () => {
    const { cli } = await mesh();
    await cli.file('token', 'writ_wrong');
    const { status, stdout } = await cli.run('check');
    expect(status).toBe(1);
    expect(stdout).toContain('→ Give the token of this control plane with --token-file.');
    expect(stdout).toContain('- gRPC presents a certificate that the bundle verifies: address or bundle is not known');
  });
});
