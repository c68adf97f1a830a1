import { expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { AuditIndex } from '../../../src/control/ledger/index.ts';
import { decision } from '../../support/audit.ts';
import { FakeClock } from '../../support/clock.ts';
import { describeEachStore } from '../../support/stores.ts';
import { TestLedger } from './test-ledger.ts';

describeEachStore('what a sidecar records beside the decision', (bench) => {
  it('is found with the call: verdicts in shadow mode, AUDIT, plain text and end user, each only where there is one', async () => {
    const ledger = new TestLedger();
    const index = await AuditIndex.open({
      store: await bench.open(),
      ledger,
      clock: new FakeClock(),
      logger: silentLogger,
    });
    const stop = new AbortController();
    const running = index.run(stop.signal);
    onTestFinished(async () => {
      stop.abort();
      await running;
    });
    ledger.add([
      decision({}),
      decision({ shadowDecision: 'deny', shadowRule: 'shop/try@2#0', auditRule: 'shop/watch@3#1' }),
      decision({ transport: 'plaintext', source: '', endUser: 'https://a.example/joe\0' }),
    ]);
    await expect.poll(() => index.position, { timeout: 5000 }).toBe(1);
    const { items } = await index.search({});
    const marks = items.map(({ shadow, auditRule, transport, endUser }) => ({ shadow, auditRule, transport, endUser }));
    expect(marks.toReversed()).toEqual([
      {},
      { shadow: { decision: 'deny', rule: 'shop/try@2#0' }, auditRule: 'shop/watch@3#1' },
      // A database may know no NUL.
      { transport: 'plaintext', endUser: 'https://a.example/joe\ufffd' },
    ]);
    expect(Object.keys(items[2] ?? {})).not.toContain('shadow');
  });
});
