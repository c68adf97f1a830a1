import { expect, it } from 'vitest';
import { ProxyAnswers } from '../../../../src/control/policies/changes/proxy-answers.ts';
import type { Store } from '../../../../src/control/store/store.ts';
import { describeEachStore } from '../../../support/stores.ts';

async function addChange(store: Store): Promise<void> {
  const row = { revision: 1, state: 'rolling', author: 'ann', reason: '', created_at: 0, expires_at: 9 } as const;
  const more = { approver: null, why: null, applied_revision: null, updated_at: 0, version: 1 };
  await store.transaction((trx) =>
    trx
      .insertInto('policy_changes')
      .values({ ...row, ...more })
      .execute(),
  );
}

describeEachStore('What sidecars made of a candidate', (stores) => {
  it('is known to other replicas, of the step that it is about and no other', async () => {
    const store = await stores.open();
    await addChange(store);
    const [here, there] = [new ProxyAnswers(store), new ProxyAnswers(store)];
    const answer = { instanceId: 'a', state: 'acknowledged', error: '', heardAt: 5 } as const;
    await here.write(1, 0, [answer]);
    expect([...(await there.read(1, 0)).values()]).toEqual([answer]);
    expect((await there.read(1, 1)).size).toBe(0);
    expect((await there.read(2, 0)).size).toBe(0);
    await here.write(1, 1, [{ ...answer, state: 'pending' }]);
    expect((await there.read(1, 1)).get('a')?.state).toBe('pending');
    expect((await there.read(1, 0)).size).toBe(0);
  });

  it('is written again when something has changed, and for new records once a second', async () => {
    const store = await stores.open();
    await addChange(store);
    const answers = new ProxyAnswers(store);
    const heardAt = async (time: number) => {
      await answers.write(1, 0, [{ instanceId: 'a', state: 'acknowledged', error: '', heardAt: time }]);
      return (await answers.read(1, 0)).get('a')?.heardAt;
    };
    expect([await heardAt(5_000), await heardAt(5_999), await heardAt(6_000)]).toEqual([5_000, 5_000, 6_000]);
  });
});
