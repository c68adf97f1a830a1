import { expect, it } from 'vitest';
import { describeEachStore } from '../../support/stores.ts';

describeEachStore('A store', (stores) => {
  it('creates the schema in an empty database, at revision 0', async () => {
    const store = await stores.open();
    expect(store.revision.current).toBe(0);
  });

  it('shows a committed revision at once', async () => {
    const store = await stores.open();
    expect(await store.transaction((trx) => store.nextRevision(trx))).toBe(1);
    expect(store.revision.current).toBe(1);
  });
});
