import { describe, expect, it } from 'vitest';
import type { AdminRecord } from '../../src/core/audit/admin-event.ts';
import { adminRecord } from '../edge/rest/audit.ts';
import { connect } from './server.ts';

const refused = () =>
  adminRecord({ outcome: 'refused', actor: '', role: '', operation: '', action: 'sign-in', object: '', count: 12 });

describe('audit admin', () => {
  it('prints who did what as a table, newest first as the server gives it', async () => {
    const cli = await connect();
    const begun = adminRecord({ outcome: 'begun', settled: false, operation: 'deletePolicy' });
    cli.rest.audit.admins.records.push(refused(), adminRecord(), begun);
    const { stdout } = await cli.run('audit', 'admin');
    const [head, first, second, third] = stdout.split('\n');
    expect(head).toMatch(/^TIME +ACTOR +ROLE +OPERATION +OBJECT +OUTCOME +COUNT +REASON +ID$/);
    expect(first).toMatch(/ nobody +- +sign-in +- +refused +12 +- +control-1/);
    expect(second).toMatch(/ ann +editor +putPolicy +\/v1\/policies\/shop\/web +done +1 +- +control-1/);
    expect(third).toMatch(/ deletePolicy .* begun, no end /);
    const wide = (await cli.run('audit', 'admin', '-o', 'wide')).stdout;
    expect(wide).toMatch(/ QUERY +STATUS +SOURCE +CREDENTIAL +PERMISSION +REQUEST +AFTER +ID\n/);
  });

  it('passes filters on', async () => {
    const cli = await connect();
    const argv =
      'audit admin --actor a* --action call --outcome begun --operation putPolicy --permission policies:* --object /v1/x* --address 10.0.0.7 --request r --since 15m';
    expect((await cli.run(...argv.split(' '))).status).toBe(0);
    expect(cli.rest.audit.admins.lastQuery).toMatchObject({
      actor: 'a*',
      action: 'call',
      outcome: 'begun',
      operation: 'putPolicy',
      permission: 'policies:*',
      object: '/v1/x*',
      address: '10.0.0.7',
      request: 'r',
      since: cli.rest.clock.now() - 15 * 60_000,
    });
  });

  it('shows one in full, with its change, and nothing that could rewrite the terminal', async () => {
    const cli = await connect();
    const record = adminRecord({ query: 'reason=\u001b[2J', detail: '--- a\n+++ b\n+x\u001b[2J\n' });
    cli.rest.audit.admins.records.push(record);
    const { stdout } = await cli.run('audit', 'admin', record.id);
    expect(stdout).toMatch(/^operation +putPolicy$/m);
    expect(stdout).toMatch(/^actor +ann$/m);
    expect(stdout).toContain('\n\n--- a\n+++ b\n+x');
    expect(stdout).not.toContain('\u001b');
    expect(JSON.parse((await cli.run('audit', 'admin', record.id, '-o', 'json')).stdout) as AdminRecord).toEqual(
      record,
    );
    const { status, stderr } = await cli.run('audit', 'admin', 'control-1.1.999999');
    expect(status).toBe(1);
    expect(stderr).toContain('There is no such record.');
    const open = adminRecord({ outcome: 'begun', settled: false });
    cli.rest.audit.admins.records.push(open);
    expect((await cli.run('audit', 'admin', open.id)).stdout).toContain('The record does not say how it ended.');
  });

  it('with --follow shows events as they come, one a line, and how many it could not show', async () => {
    const cli = await connect();
    const running = cli.run('audit', 'admin', '--follow', '--actor', 'ann');
    await expect.poll(() => cli.rest.audit.admins.openTails).toBe(1);
    const time = '2026-01-01T10:00:00.123Z';
    cli.rest.audit.admins.emit({ type: 'record', record: adminRecord({ time }) });
    cli.rest.audit.admins.emit({ type: 'record', record: adminRecord({ time, actor: 'bob' }) });
    const failed = { time, outcome: 'refused', reason: 'forbidden: no\u001b[2J', count: 3 } as const;
    cli.rest.audit.admins.emit({ type: 'record', record: adminRecord(failed) });
    cli.rest.audit.admins.emit({ type: 'lost', count: 7 });
    await expect.poll(() => cli.printed.stderr).toContain('7 events were too many to show');
    cli.stop.abort();
    expect((await running).status).toBe(0);
    const lines = cli.printed.stdout.split('\n');
    expect(lines).toHaveLength(3);
    expect(lines[0]).toMatch(/^10:00:00\.123 {2}DONE {5}ann +putPolicy +\/v1\/policies\/shop\/web$/);
    expect(lines[1]).toMatch(
      /^10:00:00\.123 {2}REFUSED {2}ann +putPolicy +\/v1\/policies\/shop\/web {2}×3 {2}forbidden: no/,
    );
    expect(cli.printed.stdout).not.toContain('\u001b[2J');
  });

  it('refuses wrong usage before it calls', async () => {
    const cli = await connect();
    expect((await cli.run('audit', 'admin', '--action', 'coup')).stderr).toMatch(/--action must be call, sign-in, /);
    expect((await cli.run('audit', 'admin', '--follow', '-o', 'yaml')).stderr).toContain(
      '-o table or -o json, not yaml',
    );
    expect(cli.rest.audit.admins.lastQuery).toBeUndefined();
  });
});

describe('whoami', () => {
  it('shows whose token it is, its role, and what that may do', async () => {
    const cli = await connect();
    await cli.run('token', 'create', 'aud', '--role', 'auditor', '--expires-in', '1h', '--out', 'aud.token');
    const { stdout } = await cli.run('whoami', '--token-file', 'aud.token');
    expect(stdout).toMatch(/^NAME +ROLE +PERMISSIONS\naud +auditor +self:read policies:read /);
    expect(stdout).not.toContain(':write');
    expect((await cli.run('whoami', '-o', 'name')).stdout).toBe('admin\n');
  });

  it('is what a refusal leads to', async () => {
    const cli = await connect();
    await cli.run('token', 'create', 'vic', '--role', 'viewer', '--expires-in', '1h', '--out', 'vic.token');
    const { status, stderr } = await cli.run('audit', 'admin', '--token-file', 'vic.token');
    expect(status).toBe(4);
    expect(stderr).toContain('Roles that do: admin, auditor. See: writ whoami');
  });

  it('and a role that there is not', async () => {
    const cli = await connect();
    const { status, stderr } = await cli.run('token', 'create', 'x', '--role', 'root', '--expires-in', '1h');
    expect(status).toBe(2);
    expect(stderr).toContain('--role must be admin, editor, auditor or viewer, not "root".');
  });
});
