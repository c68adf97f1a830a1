import { expect, it } from 'vitest';
import { bindRoot } from '../../../src/control/authority/root-binding.ts';
import { expectAppError } from '../../support/errors.ts';
import { describeEachStore } from '../../support/stores.ts';

describeEachStore('the root that a store is bound to', (bench) => {
  it('is the first one, also after a restart; any other is refused with what to do', async () => {
    const store = await bench.open();
    await bindRoot(store, 'aa11');
    await bindRoot(store, 'aa11');
    const error = await expectAppError(
      bindRoot(store, 'bb22'),
      'incompatible-data',
      /sha256:aa11.*sha256:bb22.*Put back/s,
    );
    expect(error.details).toEqual([]);
    await bindRoot(store, 'aa11');
  });

  it('is one, when two replicas start at once with different keys', async () => {
    const store = await bench.open();
    const results = await Promise.allSettled([bindRoot(store, 'aa11'), bindRoot(store, 'bb22')]);
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1);
  });
});
