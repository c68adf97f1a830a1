import { describe, expect, it } from 'vitest';
import type { IdentityRecord } from '../../src/core/audit/event.ts';
import { identityRecord } from '../edge/rest/audit.ts';
import { connect } from './server.ts';

const refused = () =>
  identityRecord({ action: 'attestation', outcome: 'refused', serial: '', reason: 'join-token-refused: used already' });

describe('audit identity', () => {
  it('prints who got which identity as a table, newest first as the server gives them', async () => {
    const cli = await connect();
    cli.rest.audit.identities.records.push(refused(), identityRecord({ actor: 'admin', subject: '', serial: 'k1' }));
    const { stdout } = await cli.run('audit', 'identity');
    const [head, first, second] = stdout.split('\n');
    expect(head).toMatch(/^TIME +ACTION +OUTCOME +SUBJECT +ACTOR +SERIAL +REASON +ID$/);
    expect(first).toMatch(
      / attestation +refused +shop\/orders +spiffe:.*7 +- +join-token-refused: used already +control/,
    );
    expect(second).toMatch(/ x509-svid +granted +- +admin +k1 +- +control-1\.1\.\d+$/);
    const wide = (await cli.run('audit', 'identity', '-o', 'wide')).stdout;
    expect(wide).toMatch(/ EXPIRES +ENTRY +INSTANCE +METHOD +SELECTORS +AUDIENCE +SOURCE +ID\n/);
    expect(wide).toContain('unix:uid:1000');
  });

  it('passes filters on, with names and prefixes in the trust domain of the server and serial numbers as anybody prints them', async () => {
    const cli = await connect();
    const asked = async (...argv: string[]) => {
      await cli.run('audit', 'identity', ...argv);
      return cli.rest.audit.identities.lastQuery;
    };
    const ns = 'spiffe://example.org/ns/shop/sa/';
    expect(await asked('--subject', 'shop/web')).toMatchObject({ subject: `${ns}web` });
    expect(await asked('--subject', 'shop/*')).toMatchObject({ subject: `${ns}*` });
    expect(await asked('--subject', 'shop/we*')).toMatchObject({ subject: `${ns}we*` });
    expect(await asked('--subject', 'spiffe://example.org/cli*')).toMatchObject({
      subject: 'spiffe://example.org/cli*',
    });
    expect(await asked('--serial', '0A:1B:2c')).toMatchObject({ serial: '0a1b2c' });
    const jti = '019b7600-0000-7000-8000-00000000000A';
    expect(await asked('--serial', jti)).toMatchObject({ serial: jti });
    const argv = [
      '--actor',
      'admin',
      '--action',
      'entry.create',
      '--outcome',
      'refused',
      '--entry',
      'e1',
      '--since',
      '15m',
    ];
    expect(await asked(...argv)).toMatchObject({
      actor: 'admin',
      action: 'entry.create',
      outcome: 'refused',
      entry: 'e1',
      since: cli.rest.clock.now() - 15 * 60_000,
    });
  });

  it('reads page after page up to --limit', async () => {
    const cli = await connect();
    cli.rest.audit.identities.records.push(...Array.from({ length: 700 }, () => identityRecord()));
    const { stdout } = await cli.run('audit', 'identity', '-o', 'name', '--limit', '620');
    expect(stdout.trim().split('\n')).toHaveLength(620);
  });

  it('knows the actions, and refuses others before it calls', async () => {
    const cli = await connect();
    const { status, stderr } = await cli.run('audit', 'identity', '--action', 'x509');
    expect(status).toBe(2);
    expect(stderr).toMatch(/--action must be attestation, x509-svid, .*not "x509"/);
    expect(cli.rest.audit.identities.lastQuery).toBeUndefined();
  });

  it('with --follow shows events as they come, one a line, and how many it could not show', async () => {
    const cli = await connect();
    const running = cli.run('audit', 'identity', '--follow', '--subject', 'shop/orders');
    await expect.poll(() => cli.rest.audit.identities.openTails).toBe(1);
    const time = '2026-01-01T10:00:00.123Z';
    const subject = 'spiffe://example.org/ns/shop/sa/orders';
    cli.rest.audit.identities.emit({ type: 'record', record: identityRecord({ time, actor: 'admin' }) });
    cli.rest.audit.identities.emit({ type: 'record', record: identityRecord({ subject: `${subject}2` }) });
    const renewal = { time, actor: subject, outcome: 'refused', reason: 'forbidden: banned\u001b[2J' } as const;
    cli.rest.audit.identities.emit({ type: 'record', record: identityRecord({ ...renewal, action: 'renewal' }) });
    cli.rest.audit.identities.emit({ type: 'lost', count: 7 });
    await expect.poll(() => cli.printed.stderr).toContain('7 events were too many to show');
    cli.stop.abort();
    expect((await running).status).toBe(0);
    const lines = cli.printed.stdout.split('\n');
    expect(lines).toHaveLength(3);
    expect(lines[0]).toMatch(/^10:00:00\.123 {2}x509-svid +GRANTED {2}shop\/orders +by admin {2}0a1b$/);
    expect(lines[1]).toMatch(/^10:00:00\.123 {2}renewal +REFUSED {2}shop\/orders +forbidden: banned/);
    expect(cli.printed.stdout).not.toContain('\u001b[2J');
  });

  it('with --follow -o json prints every event as it came; other formats are wrong usage', async () => {
    const cli = await connect();
    const running = cli.run('audit', 'identity', '--follow', '-o', 'json');
    await expect.poll(() => cli.rest.audit.identities.openTails).toBe(1);
    const record = identityRecord();
    cli.rest.audit.identities.emit({ type: 'record', record });
    await expect.poll(() => cli.printed.stdout).not.toBe('');
    cli.stop.abort();
    await running;
    expect(JSON.parse(cli.printed.stdout) as IdentityRecord).toEqual(record);
    const other = await connect();
    const { status, stderr } = await other.run('audit', 'identity', '--follow', '-o', 'yaml');
    expect(status).toBe(2);
    expect(stderr).toContain('--follow writes -o table or -o json, not yaml.');
  });
});
