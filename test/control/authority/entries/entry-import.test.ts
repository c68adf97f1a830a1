import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { AppError } from '../../../../src/base/errors.ts';
import { silentLogger } from '../../../../src/base/log.ts';
import { Entries } from '../../../../src/control/authority/entries/entries.ts';
import { readSpireEntries } from '../../../../src/control/authority/entries/entry-import.ts';
import { openStore } from '../../../../src/control/store/store.ts';
import { FakeClock } from '../../../support/clock.ts';
import { expectAppError } from '../../../support/errors.ts';

const td = 'spiffe://example.org';

async function setUp() {
  const clock = new FakeClock();
  const store = await openStore({ kind: 'sqlite', path: ':memory:' }, { clock, logger: silentLogger });
  onTestFinished(() => store.close());
  return { clock, store, entries: new Entries({ store, trustDomain: 'example.org', clock }) };
}

/** What `spire-server entry create -data` takes. */
const file = {
  entries: [
    {
      selectors: [{ type: 'unix', value: 'uid:1111' }],
      spiffe_id: `${td}/Blog`,
      parent_id: `${td}/spire/agent/join_token/TokenBlog`,
      ttl: 200,
      admin: false,
    },
    {
      selectors: [{ type: 'k8s_psat', value: 'cluster:prod' }],
      spiffe_id: `${td}/prod-nodes`,
      parent_id: `${td}/spire/server`,
    },
    {
      selectors: [
        { type: 'k8s', value: 'sa:web' },
        { type: 'k8s', value: 'ns:shop' },
      ],
      spiffe_id: `${td}/ns/shop/sa/web`,
      parent_id: `${td}/prod-nodes`,
      x509_svid_ttl: 600,
      jwt_svid_ttl: 60,
      federates_with: ['spiffe://other.org', 'third.org'],
      dns_names: ['web.shop.svc', '*.web.example.org'],
      entryExpiry: 4_000_000_000,
      hint: 'internal',
      store_svid: false,
    },
  ],
};

/** What `spire-server entry show -output json` prints. */
const listing = {
  entries: [
    {
      id: 'e2b1c3d4',
      spiffe_id: { trust_domain: 'example.org', path: '/workload' },
      parent_id: { trust_domain: 'example.org', path: '/spire/agent/x509pop/0a1b' },
      selectors: [{ type: 'unix', value: 'uid:1000' }],
      x509_svid_ttl: 0,
      federates_with: [],
      admin: false,
      downstream: false,
      expires_at: '4000000000',
      dns_names: [],
      revision_number: '3',
      store_svid: false,
      jwt_svid_ttl: 0,
      hint: '',
      created_at: '1700000000',
      something_new: false,
    },
  ],
  next_page_token: '',
};

describe('An import from SPIRE', () => {
  it('creates every entry, and says what is called otherwise', async () => {
    const { entries, store } = await setUp();
    const { created, unchanged, warnings } = await entries.importSpire(file);
    expect(created).toMatchObject([
      {
        spiffeId: `${td}/Blog`,
        parentId: `${td}/writ/agent/join_token/TokenBlog`,
        selectors: ['unix:uid:1111'],
        x509TtlSeconds: 200,
      },
      { spiffeId: `${td}/prod-nodes`, parentId: `${td}/writ/control-plane`, x509TtlSeconds: null, expiresAt: null },
      {
        spiffeId: `${td}/ns/shop/sa/web`,
        parentId: `${td}/prod-nodes`,
        selectors: ['k8s:ns:shop', 'k8s:sa:web'],
        x509TtlSeconds: 600,
        jwtTtlSeconds: 60,
        federatesWith: ['other.org', 'third.org'],
        dnsNames: ['web.shop.svc', '*.web.example.org'],
        expiresAt: 4_000_000_000_000,
        hint: 'internal',
      },
    ]);
    expect(unchanged).toEqual([]);
    expect(warnings.map((warning) => warning.detail)).toEqual([
      `${td}/spire/agent/join_token/TokenBlog, the parent of one entry, is ${td}/writ/agent/join_token/TokenBlog here.`,
      `${td}/spire/server, the parent of one entry, is ${td}/writ/control-plane here.`,
    ]);
    expect((await entries.list()).items).toEqual(created);
    // Again, it changes nothing.
    expect(await entries.importSpire(file)).toMatchObject({ created: [], unchanged: created });
    expect(store.revision.current).toBe(1);
  });

  it('takes what SPIRE prints', async () => {
    const { entries } = await setUp();
    const { created, warnings } = await entries.importSpire(listing);
    expect(created).toMatchObject([
      {
        spiffeId: `${td}/workload`,
        parentId: `${td}/writ/agent/x509pop/0a1b`,
        x509TtlSeconds: null,
        expiresAt: 4_000_000_000_000,
      },
    ]);
    expect(warnings.map((warning) => warning.code)).toEqual(['parent-mapped', 'ids-not-kept']);
  });

  it('creates nothing when anything is wrong, and says all that is, as SPIRE calls it', async () => {
    const { entries, store } = await setUp();
    const [good] = file.entries;
    const wrong = [
      { ...good, admin: true },
      { ...good, downstream: true },
      { ...good, store_svid: true },
      { ...good, magic: 'x' },
      { ...good, spiffe_id: 7 },
      { ...good, selectors: [] },
      { ...good, selectors: [{ type: 'unix' }] },
      { ...good, selectors: 'unix:uid:1' },
      { ...good, x509_svid_ttl: '1h' },
      { ...good, dns_names: [1] },
      { ...good, hint: 1 },
      'entry',
      { selectors: [{ type: 'x', value: 'y' }] },
      { ...good, x509_svid_ttl: 2_592_000, dns_names: ['A'] },
      { ...good, spiffe_id: 'spiffe://other.org/x' },
      { ...good, expires_at: 1 },
      { ...good, parent_id: `${td}/spire/elsewhere`, federates_with: ['spiffe://Bad'] },
    ];
    const error = await expectAppError(
      entries.importSpire({ entries: [good, ...wrong] }),
      'invalid',
      /^No entry was created/,
    );
    expect(error.details.map((one) => `${one.pointer?.replace('/entries/', '')} ${one.code}`)).toEqual([
      '1/admin no-equivalent',
      '2/downstream no-equivalent',
      '3/store_svid no-equivalent',
      '4/magic unknown-field',
      '5/spiffe_id wrong-type',
      '6/selectors missing-field',
      '7/selectors/0 wrong-type',
      '8/selectors wrong-type',
      '9/x509_svid_ttl wrong-type',
      '10/dns_names wrong-type',
      '11/hint wrong-type',
      '12 wrong-type',
      '13/spiffe_id missing-field',
      '13/parent_id missing-field',
      '14/x509_svid_ttl invalid',
      '14/dns_names/0 invalid',
      '15/spiffe_id invalid',
      '16/expires_at invalid',
      '17/federates_with/0 invalid',
    ]);
    expect((await entries.list()).items).toEqual([]);
    expect(store.revision.current).toBe(0);
  });

  it('changes nothing in a dry run', async () => {
    const { entries, store } = await setUp();
    expect((await entries.importSpire(file, { dryRun: true })).created).toHaveLength(3);
    expect((await entries.list()).items).toEqual([]);
    expect(store.revision.current).toBe(0);
  });

  it('takes ten thousand entries and no more', async () => {
    const { entries } = await setUp();
    const many = Array.from({ length: 10_000 }, (_, i) => ({
      spiffe_id: `${td}/ns/shop/sa/s${i % 1000}`,
      parent_id: `${td}/nodes`,
      selectors: [{ type: 'unix', value: `uid:${i}` }],
    }));
    expect((await entries.importSpire({ entries: many })).created).toHaveLength(10_000);
    await expectAppError(entries.importSpire({ entries: [...many, many[0]] }), 'invalid', /at most 10000 items/);
  });

  it.each([null, [], 'x', 7, {}, { entries: {} }, { entries: null }])('refuses %j', async (document) => {
    const { entries } = await setUp();
    await expectAppError(entries.importSpire(document), 'invalid', /must be a list of entries/);
  });

  it('of whatever JSON creates entries or says why not', async () => {
    const { entries } = await setUp();
    const text = fc.oneof(
      fc.string(),
      fc.constantFrom(`${td}/a`, `${td}/spire/server`, 'unix', 'uid:1', `${td}/{{a.b}}`),
    );
    const leaf = fc.oneof(text, fc.integer(), fc.boolean(), fc.constant(null));
    const selector = fc.record({ type: leaf, value: leaf }, { requiredKeys: [] });
    const field = fc.oneof(leaf, fc.array(fc.oneof(leaf, selector), { maxLength: 3 }), fc.jsonValue({ maxDepth: 2 }));
    const names = [
      ...Object.keys(listing.entries[0] ?? {}),
      'ttl',
      'entryExpiry',
      'entry_id',
      '__proto__',
      'constructor',
    ];
    const one = fc.oneof(fc.dictionary(fc.constantFrom(...names), field), fc.jsonValue({ maxDepth: 2 }));
    await fc.assert(
      fc.asyncProperty(fc.array(one, { maxLength: 3 }), async (list) => {
        const document: unknown = JSON.parse(JSON.stringify({ entries: list }));
        try {
          await entries.importSpire(document, { dryRun: true });
        } catch (error) {
          expect(error).toBeInstanceOf(AppError);
          expect(error).toMatchObject({ code: 'invalid' });
        }
      }),
      { numRuns: 500 },
    );
    expect(readSpireEntries(file, 'example.org').findings).toEqual([]);
  });
});
