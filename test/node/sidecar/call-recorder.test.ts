import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import type { DecisionEvent, GapEvent } from '../../../src/core/audit/event.ts';
import type { RecordingRule } from '../../../src/node/sidecar/call-recorder.ts';
import { CallRecorder } from '../../../src/node/sidecar/call-recorder.ts';
import type { Spool } from '../../../src/node/sidecar/spool.ts';
import { completion, decision, shippingIdentity } from '../../support/audit.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import { MemoryFiles } from '../../support/memory-files.ts';
import { ledgerEvents, loggedCalls, loggedGaps, openLedger, openSpool, shipAll } from '../../support/shipping.ts';

const who = shippingIdentity('sidecar-1');
const strict: RecordingRule = { port: 8080, record: 'strict', whenFull: 'refuse' };
const degrade: RecordingRule = { port: 8080, record: 'strict', whenFull: 'degrade' };
const full = /the audit spool is full/;
const deny = (change: Partial<DecisionEvent> = {}) => decision({ decision: 'deny', reason: 'default-deny', ...change });

async function setUp(rules: readonly RecordingRule[], maxBytes = 100_000) {
  const files = new MemoryFiles();
  const clock = new FakeClock();
  const spool = await openSpool(files, { clock, maxBytes, machineStart: 'a' });
  const recorder = new CallRecorder({ spool, rules, clock, logger: silentLogger });
  return { clock, files, spool, recorder, ledger: await openLedger() };
}

/** Records calls until there is no room for another one; gives their ids. */
async function fill(spool: Spool): Promise<string[]> {
  const calls: string[] = [];
  for (;;) {
    const event = decision();
    try {
      await spool.append(event);
    } catch {
      return calls;
    }
    calls.push(event.call);
  }
}

/** What is acknowledged is deleted soon after. */
async function roomIn(spool: Spool): Promise<void> {
  await expect.poll(() => spool.usage.bytes / spool.usage.maxBytes).toBeLessThan(0.8);
}

function counts(gaps: readonly unknown[]): readonly GapEvent[] {
  return (gaps as readonly GapEvent[]).filter((gap) => gap.calls !== undefined);
}

describe('a full spool', () => {
  it('audit T26: refuses calls, and still has room for refusals, gaps and heartbeats', async () => {
    const { spool, recorder, ledger, clock } = await setUp([strict]);
    const calls = await fill(spool);
    await expectAppError(recorder.append(decision()), 'audit-unavailable', full);
    const refusal = deny();
    await recorder.append(refusal);
    await spool.append({ kind: 'heartbeat', time: clock.now() });
    await expectAppError(recorder.append(decision()), 'audit-unavailable', full);
    expect(spool.usage.bytes).toBeLessThanOrEqual(100_000);
    await shipAll(spool, ledger, who);
    expect(await loggedCalls(ledger)).toEqual([...calls, refusal.call]);
    expect(await loggedGaps(ledger)).toEqual([]);
    await roomIn(spool);
    await recorder.append(decision());
  });

  it('audit T26: refuses refusals too when nothing at all has room any more', async () => {
    const { spool, recorder } = await setUp([strict]);
    await fill(spool);
    const refusals = await Promise.allSettled(Array.from({ length: 5 }, () => recorder.append(deny())));
    expect(refusals.some(({ status }) => status === 'fulfilled')).toBe(true);
    for (let i = 0; i < 40; i++) await recorder.append(deny()).catch(() => undefined);
    await expectAppError(recorder.append(deny()), 'audit-unavailable', full);
  });

  it('audit T26: counts calls exactly where the operator said so, behind a signed admission', async () => {
    const { spool, recorder, ledger, clock } = await setUp([degrade]);
    const calls = await fill(spool);
    const began = clock.now();
    const folded = [
      decision(),
      decision(),
      decision({ method: 'BREW' }),
      decision({ source: 'spiffe://example.org/x' }),
    ];
    for (const event of folded) await recorder.append(event);
    const refusal = deny();
    await recorder.append(refusal);
    for (const { call } of folded) await recorder.append(completion(call));
    expect(recorder.degradedCalls).toBe(4);
    await clock.advance(10_000);
    await recorder.close();
    await shipAll(spool, ledger, who);
    expect(await loggedCalls(ledger)).toEqual([...calls, refusal.call]);
    const kinds = (await ledgerEvents(ledger)).map(({ event }) => event.kind);
    expect(kinds).not.toContain('completion');
    const [admission, ...counted] = await loggedGaps(ledger);
    expect(admission).toEqual({ kind: 'gap', time: began, reason: 'degraded', epoch: 0, fromSeq: 0 });
    const shared = { since: began, destination: 'spiffe://example.org/ns/shop/sa/orders', rule: 'shop/orders@3#0' };
    const web = 'spiffe://example.org/ns/shop/sa/web';
    expect(counted).toMatchObject([
      { ...shared, calls: 2, source: web, operation: 'http:GET:8080', policyRevision: 3 },
      { ...shared, calls: 1, source: web, operation: 'http:other:8080' },
      { ...shared, calls: 1, source: 'spiffe://example.org/x', operation: 'http:GET:8080' },
    ]);
  });

  it('audit T26: admits before it forwards, so that a kill leaves a gap without numbers', async () => {
    const { files, spool, recorder, ledger } = await setUp([degrade]);
    await fill(spool);
    const order: string[] = [];
    files.hook = ({ operation }) => {
      if (operation === 'sync') order.push('durable');
      return 'pass';
    };
    await recorder.append(decision());
    order.push('forwarded');
    expect(order).toEqual(['durable', 'forwarded']);
    const after = await openSpool(files.crash('kill'));
    await shipAll(after, ledger, who);
    expect(await loggedGaps(ledger)).toMatchObject([{ reason: 'degraded' }]);
    expect(counts(await loggedGaps(ledger))).toEqual([]);
  });

  it('goes back to recording each call when there is room, and records what it had counted', async () => {
    const { spool, recorder, ledger } = await setUp([degrade]);
    await fill(spool);
    await recorder.append(decision());
    await shipAll(spool, ledger, who);
    await roomIn(spool);
    const next = decision();
    await recorder.append(next);
    await recorder.close();
    await shipAll(spool, ledger, who);
    expect((await loggedCalls(ledger)).at(-1)).toBe(next.call);
    expect(counts(await loggedGaps(ledger))).toMatchObject([{ calls: 1 }]);
    // And the next time it is full, it says so anew.
    await fill(spool);
    await recorder.append(decision());
    await recorder.close();
    await shipAll(spool, ledger, who);
    expect(await loggedGaps(ledger)).toHaveLength(4);
  });

  it('refuses where the operator did not say so: another port, calls that go out, a disk that fails', async () => {
    const { files, spool, recorder, clock } = await setUp([degrade, { ...strict, port: 9090 }]);
    await fill(spool);
    await expectAppError(recorder.append(decision({ port: 9090 })), 'audit-unavailable', full);
    await expectAppError(recorder.append(decision({ direction: 'outbound' })), 'audit-unavailable', full);
    files.hook = () => 'fail';
    await expectAppError(recorder.append(decision()), 'audit-unavailable');
    expect(recorder.degradedCalls).toBe(0);
    files.hook = () => 'pass';
    await clock.advance(200);
    await recorder.append(decision());
    expect(recorder.degradedCalls).toBe(1);
  });

  it('never lets in what is denied, even where calls are counted and not even the denial has room', async () => {
    const { spool, recorder } = await setUp([degrade]);
    await fill(spool);
    for (let i = 0; i < 40; i++) await recorder.append(deny()).catch(() => undefined);
    await expectAppError(recorder.append(deny()), 'audit-unavailable', full);
    expect(recorder.degradedCalls).toBe(0);
  });

  it('does not let callers use up the counts: whatever they send, there are few kinds', async () => {
    const { spool, recorder, ledger } = await setUp([degrade]);
    await fill(spool);
    for (let i = 0; i < 300; i++) await recorder.append(decision({ method: `M${i}`, path: `/${i}`, host: `${i}` }));
    await recorder.close();
    await shipAll(spool, ledger, who);
    expect(counts(await loggedGaps(ledger))).toMatchObject([{ calls: 300 }]);
  });
});

describe('counts that find no room either', () => {
  it('are recorded when there is some, together with what came later', async () => {
    const { spool, recorder, ledger, clock } = await setUp([degrade], 30_000);
    const calls = await fill(spool);
    for (let i = 0; i < 3; i++) await recorder.append(decision());
    const heartbeat = { kind: 'heartbeat', time: clock.now() } as const;
    while (await spool.append(heartbeat).catch(() => undefined));
    await recorder.close();
    await shipAll(spool, ledger, who);
    expect(await loggedCalls(ledger)).toEqual(calls);
    expect(counts(await loggedGaps(ledger))).toEqual([]);
    await roomIn(spool);
    await recorder.append(decision());
    await recorder.close();
    await shipAll(spool, ledger, who);
    expect(counts(await loggedGaps(ledger))).toMatchObject([{ calls: 3 }]);
  });
});

describe('a route', () => {
  async function syncsFor(rules: readonly RecordingRule[], event: DecisionEvent): Promise<number> {
    const { files, recorder, spool } = await setUp(rules);
    await spool.append(deny());
    await recorder.append(event);
    let syncs = 0;
    files.hook = ({ operation }) => {
      if (operation === 'sync') syncs += 1;
      return 'pass';
    };
    await recorder.append({ ...event, call: decision().call });
    files.hook = () => 'pass';
    return syncs;
  }

  it('that is strict waits for the disk before a call is forwarded, one that is not does not', async () => {
    const loose: RecordingRule = { port: 8080, record: 'spool', whenFull: 'refuse' };
    expect(await syncsFor([strict], decision())).toBe(1);
    expect(await syncsFor([loose], decision())).toBe(0);
    expect(await syncsFor([loose], decision({ port: 9090 }))).toBe(1);
    expect(await syncsFor([loose], decision({ direction: 'outbound' }))).toBe(1);
    expect(await syncsFor([loose, strict], decision())).toBe(1);
  });

  it('that is not strict has its records durable 5 ms later', async () => {
    const { files, recorder, clock } = await setUp([{ port: 8080, record: 'spool', whenFull: 'refuse' }]);
    const event = decision();
    await recorder.append(event);
    await recorder.append(completion(event.call));
    await clock.advance(5);
    const after = await openSpool(files.crash('power'), { machineStart: 'a' });
    await shipAll(after, await openLedger(), who);
    expect(after.outbox.acked.seq).toBe(2);
  });
});
