import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { AuditRecord } from '../../src/core/audit/event.ts';
import { auditRecord } from '../edge/rest/audit.ts';
import { FakeClock } from '../support/clock.ts';
import { connect } from './server.ts';
import type { Terminal } from './terminal.ts';
import { createTerminal } from './terminal.ts';

const denied = () =>
  auditRecord({
    destination: 'spiffe://example.org/ns/shop/sa/payments',
    decision: 'deny',
    reason: 'default-deny',
    rule: 'default-deny',
    status: 403,
  });

describe('audit search', () => {
  it('prints calls as a table, newest first as the server gives them', async () => {
    const cli = await connect();
    cli.rest.audit.records.push(denied(), auditRecord());
    const { stdout } = await cli.run('audit', 'search');
    const [head, first, second] = stdout.split('\n');
    expect(head).toMatch(/^TIME +SOURCE +DESTINATION +OPERATION +DECISION +STATUS +RULE +ID$/);
    expect(first).toMatch(/ shop\/web +shop\/payments +GET \/orders +deny +403 +default-deny +inst-1/);
    expect(second).toMatch(/ shop\/web +shop\/orders +GET \/orders +allow +200 +shop\/web-to-orders@4#0 +inst-1/);
  });

  it('turns NAMESPACE/SERVICE into SPIFFE IDs of the trust domain, and passes filters on', async () => {
    const cli = await connect();
    const argv = [
      '--from',
      'shop/web',
      '--to',
      'spiffe://example.org/ns/shop/sa/orders',
      '--decision',
      'deny',
      '--path',
      '/a*',
    ];
    await cli.run('audit', 'search', ...argv, '--rule', 'default-deny', '--since', '15m');
    expect(cli.rest.audit.lastQuery).toMatchObject({
      source: 'spiffe://example.org/ns/shop/sa/web',
      destination: 'spiffe://example.org/ns/shop/sa/orders',
      decision: 'deny',
      path: '/a*',
      rule: 'default-deny',
      since: cli.rest.clock.now() - 15 * 60_000,
    });
  });

  it('reads page after page up to --limit', async () => {
    const cli = await connect();
    cli.rest.audit.records.push(...Array.from({ length: 700 }, () => auditRecord()));
    const count = async (...argv: string[]) =>
      (await cli.run('audit', 'search', '-o', 'name', ...argv)).stdout.trim().split('\n').length;
    expect(await count()).toBe(50);
    expect(await count('--limit', '620')).toBe(620);
    expect(await count('--limit', '100000')).toBe(700);
  });

  it.each([
    [['--limit', '0'], '--limit must be from 1 to 100000'],
    [['--decision', 'maybe'], '--decision must be allow or deny'],
    [['--from', 'web'], 'neither NAMESPACE/SERVICE nor a SPIFFE ID'],
  ])('%j is wrong usage', async (argv, message) => {
    const cli = await createTerminal({ env: { WRIT_ADDR: 'http://127.0.0.1:1' } });
    const { status, stderr } = await cli.run('audit', 'search', ...argv);
    expect(status).toBe(2);
    expect(stderr).toContain(message);
  });
});

describe('audit tail', () => {
  it('prints a call once, when it has ended', async () => {
    const cli = await connect();
    const tail = cli.run('audit', 'tail');
    await until(() => cli.rest.audit.openTails === 1);
    const call = auditRecord({ time: '2026-01-01T10:00:00.123Z' });
    cli.rest.audit.emit({ type: 'record', record: { ...call, status: null, durationMs: null } });
    cli.rest.audit.emit({ type: 'record', record: call });
    cli.rest.audit.emit({ type: 'record', record: denied() });
    await until(() => cli.printed.stdout.split('\n').length === 3);
    cli.stop.abort();
    expect((await tail).status).toBe(0);
    const lines = cli.printed.stdout.split('\n');
    expect(lines[0]).toMatch(
      /^10:00:00\.123 {2}shop\/web → shop\/orders +GET \/orders +ALLOW {2}200 {2}shop\/web-to-orders@4#0$/,
    );
    expect(lines[1]).toMatch(/shop\/web → shop\/payments +GET \/orders +DENY {3}403 {2}default-deny$/);
  });

  it('prints a call that takes long without its status, and not again when it ends', async () => {
    const cli = await connect();
    const tail = cli.run('audit', 'tail');
    await until(() => cli.rest.audit.openTails === 1);
    const call = auditRecord();
    cli.rest.audit.emit({ type: 'record', record: { ...call, status: null } });
    await until(async () => {
      await cli.rest.clock.advance(500);
      return cli.printed.stdout !== '';
    });
    cli.rest.audit.emit({ type: 'record', record: call });
    cli.rest.audit.emit({ type: 'lost', count: 1 });
    await until(() => cli.printed.stderr !== '');
    cli.stop.abort();
    await tail;
    expect(cli.printed.stdout).toMatch(/ALLOW {7}shop\/web-to-orders@4#0\n$/);
  });

  it('with -o json prints every record as it came, one a line', async () => {
    const cli = await connect();
    const tail = cli.run('audit', 'tail', '-o', 'json');
    await until(() => cli.rest.audit.openTails === 1);
    const record = auditRecord();
    cli.rest.audit.emit({ type: 'record', record });
    await until(() => cli.printed.stdout !== '');
    cli.stop.abort();
    await tail;
    expect(JSON.parse(cli.printed.stdout) as AuditRecord).toEqual(record);
  });

  it('says how many calls it could not show', async () => {
    const cli = await connect();
    const tail = cli.run('audit', 'tail');
    await until(() => cli.rest.audit.openTails === 1);
    cli.rest.audit.emit({ type: 'lost', count: 7 });
    await until(() => cli.printed.stderr !== '');
    cli.stop.abort();
    await tail;
    expect(cli.printed.stderr).toContain('7 calls were too many to show');
  });

  it('connects again when the stream breaks, and says that calls may be missing here', async () => {
    const clock = new FakeClock();
    let connections = 0;
    const server = createServer((_request, response) => {
      connections += 1;
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(`event: record\ndata: ${JSON.stringify(auditRecord({ id: `i.1.${connections}` }))}\n\n`);
      if (connections === 1) setImmediate(() => response.destroy());
    });
    const cli = await listening(server, clock);
    const tail = cli.run('audit', 'tail', '-o', 'json');
    await until(async () => {
      await clock.advance(200);
      return connections === 2 && cli.printed.stdout.split('\n').length === 3;
    });
    cli.stop.abort();
    expect((await tail).status).toBe(0);
    expect(cli.printed.stderr).toContain('… interrupted:');
  });

  it('takes a server that has gone silent for gone', async () => {
    const clock = new FakeClock();
    let connections = 0;
    const server = createServer((_request, response) => {
      connections += 1;
      response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
    });
    const cli = await listening(server, clock);
    const tail = cli.run('audit', 'tail');
    await until(async () => {
      await clock.advance(5_000);
      return connections >= 2;
    });
    cli.stop.abort();
    await tail;
  });

  it('ends when it is refused: that will not mend itself', async () => {
    const cli = await connect();
    await cli.file('token', 'writ_wrong\n');
    const { status, stderr } = await cli.run('audit', 'tail');
    expect(status).toBe(4);
    expect(stderr).toMatch(/^error: .*token/);
  });
});

async function listening(server: ReturnType<typeof createServer>, clock: FakeClock): Promise<Terminal> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const cli = await createTerminal({ clock });
  Object.assign(cli.world.env, { WRIT_ADDR: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
  return cli;
}

/** Waits, without a fixed time, until something that sockets do has happened. */
async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const end = Date.now() + 10_000;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error('it did not happen');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
