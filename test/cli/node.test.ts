import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Connected } from './server.ts';
import { connect } from './server.ts';

const AGENT = 'spiffe://example.org/writ/agent/x509pop/a1';
const WEB = 'spiffe://example.org/ns/shop/sa/web';

async function admit(cli: Connected, instanceId: string, kind: 'agent' | 'workload' = 'workload') {
  await cli.rest.nodes.admit({
    instanceId,
    spiffeId: kind === 'agent' ? AGENT : WEB,
    kind,
    method: kind === 'agent' ? 'x509pop' : 'join_token',
    subject: instanceId,
    entryId: null,
    selectors: ['a:b'],
    canReattest: kind === 'agent',
    serial: '0a',
    expiresAt: cli.rest.clock.now() + 3_600_000,
  });
}

describe('node', () => {
  it('list shows agents, workloads and who is banned', async () => {
    const cli = await connect();
    await admit(cli, 'web-1');
    await admit(cli, 'agent-1', 'agent');
    await cli.rest.nodes.ban('web-1', { actor: 'admin' });
    expect((await cli.run('node', 'list')).stdout).toBe(
      [
        'NODE                                        KIND      METHOD      STATE    ATTESTED  LAST-SEEN  EXPIRES  INSTANCE',
        'spiffe://example.org/writ/agent/x509pop/a1  agent     x509pop     welcome  0s        0s         in 60m   agent-1',
        'shop/web                                    workload  join_token  banned   0s        0s         in 60m   web-1',
        '',
      ].join('\n'),
    );
    expect((await cli.run('node', 'list', '--banned', '-o', 'name')).stdout).toBe('node/web-1\n');
    expect((await cli.run('node', 'list', '--kind', 'agent', '-o', 'name')).stdout).toBe('node/agent-1\n');
    expect(await cli.run('node', 'list', '--kind', 'robot')).toMatchObject({ status: 2 });
  });

  it('show prints what attestation has found', async () => {
    const cli = await connect();
    await admit(cli, 'agent-1', 'agent');
    expect((await cli.run('node', 'show', AGENT)).stdout).toContain('selectors:\n  - a:b\n');
    expect(await cli.run('node', 'show', 'nobody')).toMatchObject({
      stderr: expect.stringMatching(/no node "nobody"/),
    });
  });

  it('ban and unban change access; a dry run does not', async () => {
    const cli = await connect();
    await admit(cli, 'web-1');
    expect((await cli.run('node', 'ban', 'web-1', '--dry-run')).stdout).toBe(
      'node/web-1 (shop/web) banned (dry run)\n',
    );
    expect((await cli.rest.nodes.get('web-1')).banned).toBe(false);
    expect((await cli.run('node', 'ban', 'web-1')).stdout).toBe('node/web-1 (shop/web) banned\n');
    expect((await cli.rest.nodes.get('web-1')).banned).toBe(true);
    expect((await cli.run('node', 'unban', 'web-1')).stdout).toBe('node/web-1 (shop/web) unbanned\n');
    expect((await cli.rest.nodes.get('web-1')).banned).toBe(false);
  });

  it('evict asks first, and needs --yes where nobody can be asked', async () => {
    const script = await connect();
    await admit(script, 'web-1');
    expect(await script.run('node', 'evict', 'web-1')).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(/needs a confirmation/),
    });
    expect((await script.run('node', 'evict', 'web-1', '--yes')).stdout).toBe('node/web-1 (shop/web) evicted\n');
    const cli = await connect({ interactive: true, answer: 'n' });
    await admit(cli, 'agent-1', 'agent');
    expect(await cli.run('node', 'evict', 'agent-1')).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/was kept/),
    });
    expect(cli.questions).toEqual([`Evict node/agent-1 (${AGENT})? [y/N] `]);
    const dry = await cli.run('node', 'evict', 'agent-1', '--dry-run');
    expect(dry.stderr).toContain('It can attest again at any time');
    expect((await cli.rest.nodes.get('agent-1')).kind).toBe('agent');
  });
});

describe('join-token create', () => {
  it('--agent makes one for an agent, and nothing else beside it', async () => {
    const cli = await connect();
    const made = await cli.run('join-token', 'create', '--agent', '--out', 'agent-token');
    expect(made).toMatchObject({
      status: 0,
      stdout: '',
      stderr: expect.stringMatching(/Good for one enrollment as an agent/),
    });
    expect(await readFile(join(cli.cwd, 'agent-token'), 'utf8')).toMatch(/^wjt_[A-Za-z0-9_-]{43}\n$/);
    expect((await cli.run('get', 'join-tokens')).stdout).toMatch(/ agent /);
    for (const wrong of [[], ['shop/web', '--agent']]) {
      expect(await cli.run('join-token', 'create', ...wrong)).toMatchObject({
        status: 2,
        stderr: expect.stringMatching(/is for an entry or for an agent/),
      });
    }
  });
});
