import { expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { AuditIndex } from '../../../src/control/ledger/index.ts';
import { indexTables } from '../../../src/control/ledger/index-tables.ts';
import type { Store } from '../../../src/control/store/store.ts';
import { completion, decision } from '../../support/audit.ts';
import { FakeClock } from '../../support/clock.ts';
import { describeEachStore } from '../../support/stores.ts';
import { TestLedger } from './test-ledger.ts';

describeEachStore('an audit index that is built again', (bench) => {
  async function open(store: Store, ledger: TestLedger) {
    const index = await AuditIndex.open({ store, ledger, clock: new FakeClock(), logger: silentLogger });
    const stop = new AbortController();
    const running = index.run(stop.signal);
    const end = async () => {
      stop.abort();
      await running;
    };
    onTestFinished(end);
    const settle = () => expect.poll(() => index.state, { timeout: 5000 }).toEqual(wholeOf(ledger));
    return { index, end, settle };
  }

  const wholeOf = (ledger: TestLedger) => ({
    indexed: ledger.batches.length,
    batches: ledger.batches.length,
    rebuilding: false,
  });

  function someCalls(count: number): TestLedger {
    const ledger = new TestLedger();
    for (let i = 0; i < count; i++) {
      const first = decision({ path: `/${i}` });
      ledger.add([first, completion(first.call)], `sidecar-${i % 3}`);
      // Shipped again, otherwise: a note.
      if (i % 10 === 0) ledger.add([{ ...first, path: '/other' }, Buffer.from('no event')], `sidecar-${i % 3}`);
    }
    return ledger;
  }

  async function rowsOf(store: Store): Promise<Readonly<Record<string, readonly string[]>>> {
    const rows: Record<string, readonly string[]> = {};
    for (const table of indexTables) {
      const all = await store.db.selectFrom(table).selectAll().execute();
      rows[table] = all.map((row) => JSON.stringify(row)).toSorted();
    }
    return rows;
  }

  it('has the same rows as before, whatever had been done to them', async () => {
    const ledger = someCalls(60);
    const store = await bench.open();
    const { index, settle } = await open(store, ledger);
    await settle();
    const before = await rowsOf(store);
    expect(before.audit_records?.length).toBe(60);
    expect(before.audit_notes?.length).toBeGreaterThan(0);
    await store.transaction(async (trx) => {
      await trx.updateTable('audit_records').set({ decision: 'deny' }).where('path', '=', '/3').execute();
      await trx.deleteFrom('audit_records').where('path', '=', '/4').execute();
      await trx.updateTable('audit_completions').set({ status: 500 }).execute();
      await trx.deleteFrom('audit_notes').execute();
    });
    expect(await rowsOf(store)).not.toEqual(before);
    await index.rebuild();
    expect(index.state).toMatchObject({ rebuilding: true });
    await settle();
    expect(await rowsOf(store)).toEqual(before);
  });

  it('goes on being built after a restart, from wherever it was', async () => {
    const ledger = someCalls(30);
    const store = await bench.open();
    const first = await open(store, ledger);
    await first.settle();
    const before = await rowsOf(store);
    await first.end();
    // Asked for, and then the process ended.
    await first.index.rebuild();
    await store.transaction((trx) => trx.updateTable('audit_records').set({ decision: 'deny' }).execute());
    const second = await open(store, ledger);
    expect(second.index.state).toMatchObject({ indexed: 0, rebuilding: true });
    await second.settle();
    expect(await rowsOf(store)).toEqual(before);
  });

  it('takes what is recorded meanwhile, and shows nothing a second time to who watches', async () => {
    const ledger = someCalls(30);
    const { index, settle } = await open(await bench.open(), ledger);
    await settle();
    const stop = new AbortController();
    const seen: string[] = [];
    const watching = (async () => {
      for await (const item of index.tail({}, stop.signal))
        if (item.type === 'record') seen.push(item.record.operation.path);
    })();
    await index.rebuild();
    await settle();
    ledger.add([decision({ path: '/new' })]);
    await expect.poll(() => seen).toEqual(['/new']);
    await settle();
    stop.abort();
    await watching;
  });
});
