import { describe, expect, it } from 'vitest';
import type { ProxyStatus } from '../../src/control/registry/proxies.ts';
import { connect } from './server.ts';

const WEB = 'spiffe://example.org/ns/shop/sa/web';

function proxy(o: Partial<ProxyStatus> = {}): ProxyStatus {
  return {
    instanceId: 'i-1',
    spiffeId: WEB,
    version: '0.1.0',
    connected: true,
    state: 'synced',
    serving: true,
    desiredRevision: 4,
    desiredChange: null,
    staleSince: null,
    acknowledgedRevision: 4,
    acknowledgedAt: 0,
    connectedSince: 0,
    lastSeen: 0,
    endpoints: [],
    lastError: null,
    ...o,
  };
}

describe('quarantine', () => {
  it('cuts an identity off, and says how many sidecars obey', async () => {
    const cli = await connect();
    cli.rest.proxies.push(proxy({ quarantineRevision: 99 }), proxy({ instanceId: 'i-2', connected: false }));
    expect(await cli.run('quarantine', 'shop/web', '--reason', 'INC-7')).toEqual({
      status: 0,
      stdout: 'shop/web quarantined\n',
      stderr: '1 of 1 connected sidecars obey, and 1 will when they are back.\n',
    });
    expect((await cli.run('quarantine', 'list')).stdout).toMatch(/^shop\/web +\S+ +admin +INC-7 +1\/1 /m);
    expect(cli.rest.recorder.events).toMatchObject([{ action: 'quarantine.put', subject: WEB, reason: 'INC-7' }]);
  });

  it('fails, naming them, while connected sidecars do not obey', async () => {
    const cli = await connect();
    cli.rest.proxies.push(proxy({ instanceId: 'old-one' }));
    const running = cli.run('quarantine', WEB, '--reason', 'INC-7');
    // The fake clock stands still: it is moved on once the command waits.
    const moving = setInterval(() => void cli.rest.clock.advance(5_000), 20);
    const { status, stderr } = await running;
    clearInterval(moving);
    expect(status).toBe(1);
    expect(stderr).toBe(`0 of 1 connected sidecars obey.\n  does not yet: ${WEB} (instance old-one)\n`);
  });

  it('a second time says so, and a name that nobody has is a warning', async () => {
    const cli = await connect();
    await cli.run('quarantine', WEB, '--reason', 'first');
    const { status, stdout, stderr } = await cli.run('quarantine', WEB, '--reason', 'second', '--no-wait');
    expect(status).toBe(0);
    expect(stdout).toBe('shop/web was in quarantine already\n');
    expect(stderr).toContain('It is in quarantine already, for the reason: first');
    expect(stderr).toContain('No entry and no sidecar has the identity');
  });

  it('releases by any name, and lists what was released', async () => {
    const cli = await connect();
    await cli.run('quarantine', WEB, '--reason', 'INC-7', '--no-wait');
    expect(await cli.run('quarantine', 'release', 'shop/web', '--reason', 'clean again')).toEqual({
      status: 0,
      stdout: 'shop/web released\n',
      stderr: '0 of 0 connected sidecars obey.\n',
    });
    expect((await cli.run('quarantine', 'list')).stderr).toBe('Nothing found.\n');
    expect((await cli.run('quarantine', 'list', '--released', '-o', 'wide')).stdout).toContain('clean again');
    expect((await cli.run('quarantine', 'release', 'shop/web', '--reason', 'x')).status).not.toBe(0);
  });

  it('asks for a reason, and not where nothing is changed', async () => {
    const cli = await connect();
    const { status, stderr } = await cli.run('quarantine', WEB);
    expect(status).toBe(2);
    expect(stderr).toContain('Say why, for the record: --reason <text>.');
    expect((await cli.run('quarantine', 'list')).status).toBe(0);
  });

  it('changes nothing in a dry run', async () => {
    const cli = await connect();
    expect((await cli.run('quarantine', WEB, '--reason', 'INC-7', '--dry-run')).stdout).toBe(
      'shop/web quarantined (dry run)\n',
    );
    expect((await cli.run('quarantine', 'list')).stderr).toBe('Nothing found.\n');
    expect(cli.rest.recorder.events).toEqual([]);
  });
});
