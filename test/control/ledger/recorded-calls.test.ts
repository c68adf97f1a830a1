import { expect, it } from 'vitest';
import { readRecordedCalls } from '../../../src/control/ledger/recorded-calls.ts';
import { recordCalls } from '../../support/recorded-calls.ts';
import { describeEachStore } from '../../support/stores.ts';

describeEachStore('recorded calls', (bench) => {
  it('are those that came in: what egress policies decided on their way out is no call of its own', async () => {
    const store = await bench.open();
    const call = { time: 1_000, path: '/a' };
    const [example] = await recordCalls(store, [call, { ...call, direction: 'outbound' }]);
    const pages = [];
    for await (const page of readRecordedCalls(store.db, { since: 0, until: 2_000 })) pages.push(...page.calls);
    expect(pages).toMatchObject([{ path: '/a', calls: 1, example }]);
  });
});
