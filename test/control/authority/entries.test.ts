import { describe, expect, it } from 'vitest';
import type { EntryInput } from '../../../src/control/authority/entries.ts';
import { Entries } from '../../../src/control/authority/entries.ts';
import { checkEntryInput } from '../../../src/control/authority/entry-input.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import type { StoreBench } from '../../support/stores.ts';
import { describeEachStore } from '../../support/stores.ts';

const trustDomain = 'example.org';
const web = 'spiffe://example.org/ns/shop/sa/web';
const uuidv7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

async function setUp(stores: StoreBench) {
  const store = await stores.open();
  const clock = new FakeClock();
  return { store, clock, entries: new Entries({ store, trustDomain, clock }) };
}

describeEachStore('Entries', (stores) => {
  it('are created whole, with defaults for what is left out', async () => {
    const { entries, clock } = await setUp(stores);
    const entry = await entries.create({ spiffeId: web });
    expect(entry).toEqual({
      id: expect.stringMatching(uuidv7),
      spiffeId: web,
      selectors: [],
      labels: {},
      x509TtlSeconds: null,
      jwtTtlSeconds: null,
      revision: 1,
      createdAt: clock.now(),
      updatedAt: clock.now(),
    });
    expect(await entries.get(entry.id)).toEqual(entry);
    expect(await entries.bySpiffeId(web)).toEqual(entry);
  });

  it('keep what they were given', async () => {
    const { entries } = await setUp(stores);
    const input = {
      spiffeId: web,
      selectors: ['unix:uid:1000', 'k8s:ns:shop'],
      labels: { app: 'web', 'example.org/tier': 'front', empty: '' },
      x509TtlSeconds: 600,
      jwtTtlSeconds: 60,
    };
    const { id } = await entries.create(input);
    expect(await entries.get(id)).toMatchObject(input);
  });

  it('are one for each SPIFFE ID, also when created at the same time', async () => {
    const { entries, store } = await setUp(stores);
    const results = await Promise.allSettled(Array.from({ length: 5 }, () => entries.create({ spiffeId: web })));
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1);
    await expectAppError(entries.create({ spiffeId: web }), 'conflict', /web has an entry already/);
    expect(store.revision.current).toBe(1);
  });

  it('are changed as a whole, at a new revision', async () => {
    const { entries, clock } = await setUp(stores);
    const before = await entries.create({ spiffeId: web, labels: { app: 'web' }, x509TtlSeconds: 600 });
    await clock.advance(1000);
    const after = await entries.update(before.id, { spiffeId: web, labels: { app: 'shop' } }, before.revision);
    expect(after).toEqual({
      ...before,
      labels: { app: 'shop' },
      x509TtlSeconds: null,
      revision: 2,
      updatedAt: clock.now(),
    });
    expect(await entries.get(before.id)).toEqual(after);
  });

  it('stay at their revision when a change changes nothing', async () => {
    const { entries, store } = await setUp(stores);
    const entry = await entries.create({ spiffeId: web, labels: { a: '1', b: '2' } });
    expect(await entries.update(entry.id, { spiffeId: web, labels: { b: '2', a: '1' } }, '*')).toEqual(entry);
    expect(store.revision.current).toBe(1);
  });

  it('are not changed or deleted over a change that the caller has not seen', async () => {
    const { entries } = await setUp(stores);
    const { id } = await entries.create({ spiffeId: web });
    const current = await entries.update(id, { spiffeId: web, labels: { app: 'web' } }, 1);
    const stale = /^The entry is at revision 2, not 1: somebody changed it/;
    await expectAppError(entries.update(id, { spiffeId: web }, 1), 'precondition-failed', stale);
    await expectAppError(entries.delete(id, 1), 'precondition-failed', stale);
    expect(await entries.get(id)).toEqual(current);
  });

  it('lose no change when two are made at the same time', async () => {
    const { entries } = await setUp(stores);
    const { id } = await entries.create({ spiffeId: web });
    const changes = ['a', 'b', 'c'].map((app) => entries.update(id, { spiffeId: web, labels: { app } }, 1));
    const results = await Promise.allSettled(changes);
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1);
  });

  it('keep their SPIFFE ID', async () => {
    const { entries } = await setUp(stores);
    const { id } = await entries.create({ spiffeId: web });
    const other = entries.update(id, { spiffeId: 'spiffe://example.org/ns/shop/sa/orders' }, '*');
    await expectAppError(other, 'invalid', /^The SPIFFE ID of an entry cannot change/);
  });

  it('are gone when deleted, so that nothing is signed for them any more', async () => {
    const { entries, store } = await setUp(stores);
    const { id } = await entries.create({ spiffeId: web });
    await entries.delete(id, undefined);
    expect(await entries.bySpiffeId(web)).toBeUndefined();
    expect(store.revision.current).toBe(2);
    const calls = [
      () => entries.get(id),
      () => entries.delete(id, '*'),
      () => entries.update(id, { spiffeId: web }, '*'),
    ];
    for (const again of calls) {
      await expectAppError(again, 'not-found', 'There is no entry with this id.');
    }
    await entries.create({ spiffeId: web });
  });

  it('are listed page by page, oldest first, each once, also while others come', async () => {
    const { entries, clock } = await setUp(stores);
    const create = async (name: string) => {
      await clock.advance(1);
      return await entries.create({ spiffeId: `spiffe://example.org/ns/shop/sa/${name}` });
    };
    for (const name of ['c', 'a', 'b']) await create(name);
    const first = await entries.list({ limit: 2 });
    await create('d');
    const second = await entries.list({ limit: 2, cursor: first.nextCursor });
    expect([...first.items, ...second.items].map((entry) => entry.spiffeId.at(-1))).toEqual(['c', 'a', 'b', 'd']);
    expect(second.nextCursor).toBeNull();
  });

  it('are found by namespace and by SPIFFE ID', async () => {
    const { entries } = await setUp(stores);
    const bank = await entries.create({ spiffeId: 'spiffe://example.org/ns/bank/sa/web' });
    const shop = await entries.create({ spiffeId: web });
    expect((await entries.list({ namespace: 'bank' })).items).toEqual([bank]);
    expect((await entries.list({ spiffeId: web })).items).toEqual([shop]);
    expect((await entries.list({ namespace: 'bank', spiffeId: web })).items).toEqual([]);
  });

  it('are not found by impossible text', async () => {
    const { entries } = await setUp(stores);
    const [code, message] =
      stores.kind === 'sqlite' ? (['not-found', /no entry/] as const) : (['invalid', /U\+0000/] as const);
    await expectAppError(entries.get('\0'), code, message);
  });

  it('refuse the cursor of another listing', async () => {
    const { entries } = await setUp(stores);
    for (const name of ['a', 'b']) await entries.create({ spiffeId: `spiffe://example.org/ns/shop/sa/${name}` });
    const { nextCursor } = await entries.list({ limit: 1 });
    await expectAppError(entries.list({ namespace: 'shop', cursor: nextCursor }), 'invalid-cursor', /cursor/);
    await expectAppError(entries.list({ cursor: 'made-up' }), 'invalid-cursor', /cursor/);
    await expectAppError(entries.list({ limit: 0 }), 'invalid', /limit/);
  });
});

describe('An entry', () => {
  const check = (input: Partial<EntryInput>) => () => checkEntryInput({ spiffeId: web, ...input }, trustDomain);
  const labels = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`l${i}`, '']));

  it.each([
    ['spiffe://other.org/ns/shop/sa/web', /must be in the trust domain example\.org/],
    ['spiffe://example.org/writ/control-plane', /must not be below \/writ/],
    ['spiffe://example.org/writ', /must not be below \/writ/],
    ['spiffe://example.org', /must read spiffe:/],
    ['spiffe://example.org/web', /must read spiffe:/],
    ['spiffe://example.org/ns/shop/sa/web/x', /must read spiffe:/],
    ['spiffe://example.org/ns/shop/sa/Web', /must read spiffe:/],
    ['spiffe://example.org/ns/shop/sa/we.b', /must read spiffe:/],
    ['spiffe://example.org/ns/-shop/sa/web', /must read spiffe:/],
    [`spiffe://example.org/ns/shop/sa/${'w'.repeat(64)}`, /must read spiffe:/],
    ['https://example.org/ns/shop/sa/web', /\/spiffeId/],
    ['', /\/spiffeId/],
  ])('cannot have the SPIFFE ID %j', async (spiffeId, message) => {
    await expectAppError(check({ spiffeId }), 'invalid', message);
  });

  it.each([
    ['/x509TtlSeconds', { x509TtlSeconds: 59 }],
    ['/x509TtlSeconds', { x509TtlSeconds: 86_401 }],
    ['/x509TtlSeconds', { x509TtlSeconds: 60.5 }],
    ['/jwtTtlSeconds', { jwtTtlSeconds: 29 }],
    ['/jwtTtlSeconds', { jwtTtlSeconds: 3601 }],
    ['/selectors/1', { selectors: ['unix:uid:1', 'unix'] }],
    ['/selectors/0', { selectors: [`unix:${'x'.repeat(512)}`] }],
    ['/selectors/0', { selectors: ['unix:uid\n'] }],
    ['/selectors/1', { selectors: ['unix:uid:1', 'unix:uid:1'] }],
    ['/selectors', { selectors: Array.from({ length: 65 }, (_, i) => `unix:uid:${i}`) }],
    ['/labels', { labels: labels(65) }],
    ['/labels/', { labels: { '': 'x' } }],
    ['/labels/-app', { labels: { '-app': 'x' } }],
    ['/labels/__proto__', { labels: JSON.parse('{"__proto__": "x"}') as Record<string, string> }],
    ['/labels/Example.org~1app', { labels: { 'Example.org/app': 'x' } }],
    ['/labels/a~1b~1c', { labels: { 'a/b/c': 'x' } }],
    ['/labels/app', { labels: { app: 'with space' } }],
    ['/labels/app', { labels: { app: 'x'.repeat(64) } }],
  ])('is refused for %s of %j', async (pointer, input) => {
    const error = await expectAppError(check(input), 'invalid', /^The entry is not valid: /);
    expect(error.details.map((detail) => detail.pointer)).toEqual([pointer]);
  });

  it('may reach every limit', () => {
    for (const input of [
      { x509TtlSeconds: 60, jwtTtlSeconds: 30 },
      { x509TtlSeconds: 86_400, jwtTtlSeconds: 3600 },
      { selectors: Array.from({ length: 64 }, (_, i) => `unix:uid:${i}`) },
      { labels: labels(64) },
      { labels: { ['n'.repeat(63)]: 'v'.repeat(63), [`${'p'.repeat(60)}.org/n`]: 'A_b.c-d' } },
    ]) {
      expect(check(input)).not.toThrow();
    }
  });

  it('is told everything that is wrong with it at once', async () => {
    const input = { spiffeId: 'web', labels: { 'a b': 'c d' }, jwtTtlSeconds: 1 };
    const error = await expectAppError(check(input), 'invalid');
    expect(error.details.map((detail) => detail.pointer)).toEqual([
      '/spiffeId',
      '/labels/a b',
      '/labels/a b',
      '/jwtTtlSeconds',
    ]);
  });
});
