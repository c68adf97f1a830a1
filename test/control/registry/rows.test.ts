import { expect, it } from 'vitest';
import { ProxyRows } from '../../../src/control/registry/rows.ts';
import type { StoreBench } from '../../support/stores.ts';
import { describeEachStore } from '../../support/stores.ts';

async function registered(stores: StoreBench) {
  const store = await stores.open();
  const rows = new ProxyRows(store);
  const hello = { instanceId: 'a', spiffeId: 'spiffe://example.org/ns/shop/sa/web', version: '1', inbound: [] };
  await rows.register(hello, 1000);
  const row = async () => (await rows.changedAfter(0))[0];
  return { rows, row, store, hello };
}

describeEachStore('The stored sidecar', (stores) => {
  it('expires only if no replica has seen it since', async () => {
    const { rows, row } = await registered(stores);
    await rows.seen(['a'], 2000);
    await rows.expire('a', 1000);
    expect(await row()).toMatchObject({ serving: true, lastSeen: 2000 });
    await rows.expire('a', 2000);
    expect(await row()).toMatchObject({ serving: false, lastSeen: 2000 });
  });

  it('has the trust bundle that was acknowledged last, without being changed by it', async () => {
    const { rows, row } = await registered(stores);
    const before = await row();
    await rows.acknowledged('a', 7);
    expect(await row()).toEqual({ ...before, bundleSequence: 7 });
    expect((await rows.sightings()).get('a')?.bundleSequence).toBe(7);
  });

  it('is forgotten only if it does not serve and no replica has seen it since', async () => {
    const { rows, row } = await registered(stores);
    await rows.forget('a', 1000);
    expect(await row()).toBeDefined();
    await rows.expire('a', 1000);
    await rows.seen(['a'], 2000);
    await rows.forget('a', 1000);
    expect(await row()).toBeDefined();
    await rows.forget('a', 2000);
    expect(await row()).toBeUndefined();
  });

  it('leaves only if that still holds when it is carried out', async () => {
    const { rows, row } = await registered(stores);
    await rows.leave('a', 2000, () => false);
    expect(await row()).toMatchObject({ serving: true, lastSeen: 1000 });
    await rows.leave('a', 2000, () => true);
    expect(await row()).toMatchObject({ serving: false, lastSeen: 2000 });
  });

  it('has a new revision when it changes, and none for being seen', async () => {
    const { rows, row, store, hello } = await registered(stores);
    await rows.seen(['a'], 2000);
    await rows.register(hello, 3000);
    expect(await row()).toMatchObject({ revision: 1, lastSeen: 3000 });
    await rows.register({ ...hello, version: '2' }, 3000);
    expect(await row()).toMatchObject({ revision: 2, version: '2' });
    expect(await rows.changedAfter(2)).toEqual([]);
    expect(store.revision.current).toBe(2);
  });

  it('is seen together with any number of others', async () => {
    const { rows } = await registered(stores);
    const others = Array.from({ length: 1200 }, (_, i) => `nobody-${i}`);
    await rows.seen([...others, 'a'], 5000);
    expect(await rows.sightings()).toEqual(new Map([['a', { lastSeen: 5000, bundleSequence: null }]]));
  });
});
