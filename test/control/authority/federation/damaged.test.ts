import { expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../../src/base/log.ts';
import { FederatedBundles } from '../../../../src/control/authority/federation/federated-bundles.ts';
import { openStore } from '../../../../src/control/store/store.ts';
import { FakeClock } from '../../../support/clock.ts';

it('a federation that is damaged in the store is not in force, and does not keep the end of another from being heard', async () => {
  const deps = { clock: new FakeClock(), logger: silentLogger };
  const store = await openStore({ kind: 'sqlite', path: ':memory:' }, deps);
  onTestFinished(() => store.close());
  const add = (trustDomain: string, document: string | null) =>
    store.transaction(async (trx) => {
      const common = { trust_domain: trustDomain, revision: await store.nextRevision(trx) };
      const endpoint = { bundle_url: 'https://x/', profile: 'https_web', endpoint_spiffe_id: null } as const;
      const times = { created_at: 0, updated_at: 0 };
      const relationship = { ...common, ...endpoint, ...times, ca_certificates: null, services: '[]' };
      await trx.insertInto('federation_relationships').values(relationship).execute();
      const polled = { fetched_at: 0, checked_at: 0, last_error: null };
      const bundle = { ...common, ...polled, document, sequence: null, refresh_hint_seconds: null };
      await trx.insertInto('federation_bundles').values(bundle).execute();
    });
  await add('ends.example', null);
  await add('stays.example', null);
  const federated = await FederatedBundles.open({ store, ...deps });
  onTestFinished(() => federated.close());
  await add('torn.example', '{"keys":');
  await store.transaction(async (trx) => {
    await trx.deleteFrom('federation_relationships').where('trust_domain', '=', 'ends.example').execute();
    await store.nextRevision(trx);
  });
  await federated.settled();
  expect([...federated.current.current.services.keys()]).toEqual(['stays.example']);
});
