import { describe, expect, it } from 'vitest';
import type { EntryInput } from '../../../../src/control/authority/entries/entries.ts';
import { Entries } from '../../../../src/control/authority/entries/entries.ts';
import { checkEntryInput } from '../../../../src/control/authority/entries/entry-input.ts';
import { FakeClock } from '../../../support/clock.ts';
import { expectAppError } from '../../../support/errors.ts';
import { listRecorder } from '../../../support/recorder.ts';
import type { StoreBench } from '../../../support/stores.ts';
import { describeEachStore } from '../../../support/stores.ts';

const trustDomain = 'example.org';
const agent = 'spiffe://example.org/writ/agent/x509pop/abc';
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
      parentId: null,
      spiffeId: web,
      selectors: [],
      namespaces: [],
      labels: {},
      x509TtlSeconds: null,
      jwtTtlSeconds: null,
      dnsNames: [],
      federatesWith: [],
      hint: '',
      expiresAt: null,
      jwtClaims: null,
      revision: 1,
      createdAt: clock.now(),
      updatedAt: clock.now(),
    });
    expect(await entries.get(entry.id)).toEqual(entry);
    expect(await entries.bySpiffeId(web)).toEqual(entry);
  });

  it('keep what they were given', async () => {
    const { entries, clock } = await setUp(stores);
    const input = {
      spiffeId: 'spiffe://example.org/ns/{{k8s.ns}}/sa/{{k8s.sa}}',
      parentId: agent,
      selectors: ['k8s:ns:shop', 'unix:uid:1000'],
      namespaces: ['bank', 'shop'],
      labels: { app: 'web', empty: '', 'example.org/tier': 'front' },
      x509TtlSeconds: 600,
      jwtTtlSeconds: 60,
      dnsNames: ['web.example.org', '*.shop.example.org'],
      federatesWith: ['a.example', 'b.example'],
      hint: 'for the database',
      expiresAt: clock.now() + 1,
      jwtClaims: { roles: ['a', 1, null], who: '{{k8s.sa}}' },
    };
    const { id } = await entries.create(input);
    expect(await entries.get(id)).toMatchObject(input);
  });

  it('are the same whatever the order of what has none', async () => {
    const { entries, store } = await setUp(stores);
    const { id } = await entries.create({ spiffeId: web, selectors: ['b:1', 'a:1'], federatesWith: ['b', 'a'] });
    await entries.update(id, { spiffeId: web, selectors: ['a:1', 'b:1'], federatesWith: ['a', 'b'] }, '*');
    expect(store.revision.current).toBe(1);
  });

  it('are one for each parent, SPIFFE ID and selectors', async () => {
    const { entries } = await setUp(stores);
    const given = { spiffeId: web, parentId: agent, selectors: ['unix:uid:1'] };
    const first = await entries.create(given);
    const others = [
      { ...given, parentId: 'spiffe://example.org/nodes' },
      { ...given, parentId: null },
      { ...given, selectors: ['unix:uid:1', 'unix:gid:1'] },
      { ...given, spiffeId: 'spiffe://example.org/other' },
    ];
    for (const other of others) await entries.create(other);
    await expectAppError(
      entries.create({ ...given, hint: 'x' }),
      'conflict',
      `${web} has an entry already with this parent and these selectors: ${first.id}. Change that one, or delete it first.`,
    );
    const { id } = await entries.create({ ...given, selectors: ['unix:uid:2'] });
    await expectAppError(entries.update(id, given, '*'), 'conflict', /has an entry already/);
    expect((await entries.list({ spiffeId: web })).items).toHaveLength(5);
  });

  it('of one SPIFFE ID have the same labels', async () => {
    const { entries, clock } = await setUp(stores);
    const at = (uid: number, more: Partial<EntryInput> = {}) => ({
      spiffeId: web,
      parentId: agent,
      selectors: [`unix:uid:${uid}`],
      ...more,
    });
    const first = await entries.create(at(1, { labels: { app: 'web' } }));
    const other = await entries.create({ spiffeId: 'spiffe://example.org/other', labels: { app: 'other' } });
    await clock.advance(1);
    expect(await entries.create(at(2))).toMatchObject({ labels: { app: 'web' } });
    expect(await entries.create(at(3, { labels: { app: 'web' } }))).toMatchObject({ labels: { app: 'web' } });
    await expectAppError(
      entries.create(at(4, { labels: { app: 'shop' } })),
      'conflict',
      new RegExp(`another entry of ${web} \\(${first.id}\\) has others`),
    );

    // An update changes them for all; one that leaves them out leaves them.
    const changed = await entries.update(first.id, at(1, { labels: { app: 'shop' } }), first.revision);
    const all = (await entries.list({ spiffeId: web })).items;
    expect(all.map((entry) => [entry.labels, entry.revision])).toEqual(
      all.map(() => [{ app: 'shop' }, changed.revision]),
    );
    expect(await entries.update(first.id, at(1, { hint: 'x' }), '*')).toMatchObject({ labels: { app: 'shop' } });
    // Whoever keeps its labels is not changed with the others.
    const revisions = (await entries.list({ spiffeId: web })).items.map((entry) => entry.revision);
    expect(revisions).toEqual([changed.revision + 1, changed.revision, changed.revision]);
    expect(await entries.get(other.id)).toEqual(other);
    expect(await entries.bySpiffeId(web)).toMatchObject({ labels: { app: 'shop' } });
  });

  it('that have expired are as if they were not there', async () => {
    const { entries, clock } = await setUp(stores);
    const given = { spiffeId: web, expiresAt: clock.now() + 1000, labels: { app: 'old' } };
    const old = await entries.create(given);
    expect(await entries.bySpiffeId(web)).toEqual(old);
    await clock.advance(1000);
    expect(await entries.bySpiffeId(web)).toBeUndefined();
    await expectAppError(entries.create(given), 'invalid', 'The entry is not valid: /expiresAt must be in the future.');
    // Its own time may stay in the past, another may not.
    expect(await entries.update(old.id, given, '*')).toEqual(old);
    await expectAppError(entries.update(old.id, { ...given, expiresAt: 1 }, '*'), 'invalid', /in the future/);

    const next = await entries.create({ spiffeId: web, labels: { app: 'new' } });
    expect(await entries.bySpiffeId(web)).toEqual(next);
    await expectAppError(entries.get(old.id), 'not-found');
  });

  it('that have expired live on with a later time', async () => {
    const { entries, clock } = await setUp(stores);
    const old = await entries.create({ spiffeId: web, expiresAt: clock.now() + 1000 });
    await clock.advance(1000);
    await entries.update(old.id, { spiffeId: web }, '*');
    expect(await entries.bySpiffeId(web)).toMatchObject({ id: old.id });
  });

  it('that are templates speak for the identities that they can make, after those of their own', async () => {
    const { entries, clock } = await setUp(stores);
    const spiffeId = 'spiffe://example.org/ns/{{k8s.ns}}/sa/{{k8s.sa}}';
    const given = { spiffeId, parentId: agent, selectors: ['x:y'], namespaces: ['shop', 'bank'], labels: { a: 'b' } };
    const template = await entries.create({ ...given, expiresAt: clock.now() + 1000 });
    expect(await entries.bySpiffeId(web)).toEqual(template);
    expect(await entries.bySpiffeId('spiffe://example.org/ns/other/sa/web')).toBeUndefined();
    expect(await entries.bySpiffeId('spiffe://example.org')).toBeUndefined();
    expect(await entries.bySpiffeId(spiffeId)).toBeUndefined();
    for (const namespace of ['shop', 'bank']) {
      expect((await entries.list({ namespace })).items).toEqual([template]);
    }
    for (const namespace of ['sho', 'shop%', 'sho_']) {
      expect((await entries.list({ namespace })).items).toEqual([]);
    }
    await clock.advance(1);
    const exact = await entries.create({ spiffeId: web });
    expect(await entries.bySpiffeId(web)).toEqual(exact);
    await clock.advance(1000);
    expect(await entries.bySpiffeId('spiffe://example.org/ns/bank/sa/web')).toBeUndefined();
  });

  it('are found by parent and by selector', async () => {
    const { entries, clock } = await setUp(stores);
    const a = await entries.create({ spiffeId: web, parentId: agent, selectors: ['x:1', 'y:1'] });
    await clock.advance(1);
    await entries.create({ spiffeId: web, selectors: ['x:1%'] });
    const c = await entries.create({ spiffeId: web, selectors: ['x:1'] });
    expect((await entries.list({ parentId: agent })).items).toEqual([a]);
    expect((await entries.list({ selector: 'x:1' })).items).toEqual([a, c]);
    const first = await entries.list({ selector: 'x:1', limit: 1 });
    expect(first.items).toEqual([a]);
    await expectAppError(entries.list({ selector: 'y:1', cursor: first.nextCursor }), 'invalid-cursor');
  });

  it('are recorded before they are changed, or not changed', async () => {
    const { store, clock } = await setUp(stores);
    const recorder = listRecorder();
    const entries = new Entries({ store, trustDomain, clock, recorder });
    const by = { actor: 'alice', source: '192.0.2.1' };
    const entry = await entries.create({ spiffeId: web, selectors: ['x:1'] }, by);
    await entries.create({ spiffeId: web }, { ...by, dryRun: true });
    await entries.update(entry.id, { spiffeId: web, selectors: ['x:1'] }, '*', by);
    await entries.update(entry.id, { spiffeId: web, selectors: ['x:2'] }, '*', by);
    recorder.fail();
    const unwritable = [
      () => entries.create({ spiffeId: web }),
      () => entries.update(entry.id, { spiffeId: web }, '*'),
      () => entries.delete(entry.id, '*'),
      () => entries.createAll({ items: [{ pointer: '/0', input: { spiffeId: web } }] }),
    ];
    for (const write of unwritable) await expectAppError(write, 'unavailable', /cannot be written/);
    expect(await entries.list()).toMatchObject({ items: [{ selectors: ['x:2'] }], revision: 2 });
    recorder.fail(false);
    await entries.delete(entry.id, '*');
    expect(recorder.events.map((event) => [event.action, event.actor, event.source, event.selectors])).toEqual([
      ['entry.create', 'alice', '192.0.2.1', ['x:1']],
      ['entry.update', 'alice', '192.0.2.1', ['x:2']],
      ['entry.delete', 'control-plane', '', ['x:2']],
    ]);
    expect(recorder.events[0]).toMatchObject({ subject: web, entry: entry.id, outcome: 'granted', expiresAt: 0 });
  });

  it('that come together are all created, in their order, or none', async () => {
    const { entries, store, clock } = await setUp(stores);
    const items = (...inputs: EntryInput[]) => ({
      items: inputs.map((input, index) => ({ pointer: `/entries/${index}`, input })),
    });
    const at = (uid: number) => ({ spiffeId: web, parentId: agent, selectors: [`unix:uid:${uid}`] });
    const there = await entries.create({ ...at(0), labels: { app: 'web' } });
    await clock.advance(1);
    const { created, unchanged } = await entries.createAll(items(at(2), at(1), at(0)));
    expect(created.map((entry) => entry.selectors)).toEqual([['unix:uid:2'], ['unix:uid:1']]);
    expect(created.map((entry) => entry.labels)).toEqual([{ app: 'web' }, { app: 'web' }]);
    expect(unchanged).toEqual([there]);
    expect((await entries.list()).items).toEqual([there, ...created]);
    expect(store.revision.current).toBe(2);
    expect((await entries.createAll(items(at(1)))).created).toEqual([]);
    expect(store.revision.current).toBe(2);

    const wrong = entries.createAll(
      items(at(5), { spiffeId: 'x' }, { ...at(6), hint: '\n', x509TtlSeconds: 1 }, at(5)),
    );
    const error = await expectAppError(
      wrong,
      'invalid',
      /^No entry was created\. They are not valid: .* \(and 3 more\)/,
    );
    expect(error.details.map((one) => one.pointer)).toEqual([
      '/entries/1/spiffeId',
      '/entries/2/x509TtlSeconds',
      '/entries/2/hint',
      '/entries/3',
    ]);
    const other = { spiffeId: 'spiffe://example.org/o' };
    const contradicting = entries.createAll(
      items(
        at(7),
        { ...at(1), hint: 'x' },
        { ...at(8), labels: { app: 'x' } },
        { ...other, labels: { a: '1' } },
        { ...other, selectors: ['x:1'], labels: { a: '2' } },
        { ...other, selectors: ['x:2'] },
      ),
    );
    const conflict = await expectAppError(contradicting, 'conflict', /^No entry was created\. They contradict/);
    expect(conflict.details.map((one) => one.pointer)).toEqual(['/entries/1', '/entries/2', '/entries/4']);
    expect((await entries.list()).items).toHaveLength(3);
    expect(store.revision.current).toBe(2);
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
    ['spiffe://example.org', /must have a path/],
    ['spiffe://example.org/ns/shop/sa/Web', /names of at most 63 lower-case/],
    ['spiffe://example.org/ns/shop/sa/we.b', /names of at most 63 lower-case/],
    ['spiffe://example.org/ns/-shop/sa/web', /names of at most 63 lower-case/],
    [`spiffe://example.org/ns/shop/sa/${'w'.repeat(64)}`, /names of at most 63 lower-case/],
    ['spiffe://other.org/ns/shop/sa/{{k8s.sa}}', /must be in the trust domain example\.org/],
    ['spiffe://example.org/writ/agent/{{k8s.sa}}', /must not be below \/writ/],
    ['spiffe://example.org/ns/Shop/sa/{{k8s.sa}}', /names of at most 63 lower-case/],
    ['spiffe://example.org/{{k8s.sa}}', /first segment/],
    ['https://example.org/ns/shop/sa/web', /\/spiffeId/],
    ['', /\/spiffeId/],
  ])('S16: cannot have the SPIFFE ID %j', async (spiffeId, message) => {
    await expectAppError(check({ spiffeId }), 'invalid', message);
  });

  it.each([
    'spiffe://example.org/client',
    'spiffe://example.org/ns/shop/sa/web/x',
    'spiffe://example.org/Blog',
    'spiffe://example.org/spire-exporter/Some_thing.1',
  ])('may have the SPIFFE ID %j', (spiffeId) => {
    expect(check({ spiffeId })).not.toThrow();
  });

  it.each([
    'spiffe://example.org/writ/control-plane',
    'spiffe://example.org/writ/agent/x509pop/abc',
    'spiffe://example.org/writ/agent/k8s_psat/cluster/uid',
    'spiffe://example.org/nodes/rack-1',
  ])('may have the parent %j', (parentId) => {
    expect(check({ parentId, selectors: ['x:y'] })).not.toThrow();
  });

  it.each([
    ['spiffe://other.org/nodes', /must be in the trust domain example\.org/],
    ['spiffe://example.org', /must have a path/],
    ['spiffe://example.org/writ', /must, below \/writ, be/],
    ['spiffe://example.org/writ/agent', /must, below \/writ, be/],
    ['spiffe://example.org/writ/agent/x509pop', /must, below \/writ, be/],
    ['spiffe://example.org/writ/control-plane/x', /must, below \/writ, be/],
    [web, /must not be the entry's own SPIFFE ID/],
    ['nodes', /\/parentId This is not a SPIFFE ID/],
    ['spiffe://example.org/{{k8s.ns}}', /\/parentId This is not a SPIFFE ID/],
    ['', /\/parentId This is not a SPIFFE ID/],
  ])('S16: cannot have the parent %j', async (parentId, message) => {
    const error = await expectAppError(check({ parentId, selectors: ['x:y'] }), 'invalid', message);
    expect(error.details.map((detail) => detail.pointer)).toEqual(['/parentId']);
  });

  const template = {
    spiffeId: 'spiffe://example.org/ns/{{k8s.ns}}/sa/{{k8s.sa}}',
    parentId: agent,
    selectors: ['x:y'],
    namespaces: ['shop'],
  };

  it.each([
    ['/parentId', { parentId: null }],
    ['/selectors', { selectors: [] }],
    ['/namespaces', { namespaces: [] }],
    ['/namespaces', { namespaces: Array.from({ length: 257 }, (_, i) => `n${i}`) }],
    ['/namespaces/0', { namespaces: ['*'] }],
    ['/namespaces/0', { namespaces: ['Shop'] }],
    ['/namespaces/1', { namespaces: ['shop', 'shop'] }],
    ['/namespaces', { spiffeId: 'spiffe://example.org/ns/shop/sa/{{k8s.sa}}' }],
    ['/namespaces', { spiffeId: web }],
    ['/jwtClaims/a', { jwtClaims: { a: '{{k8s.pod}}' } }],
  ])('that is a template is refused for %s of %j', async (pointer, input) => {
    const error = await expectAppError(check({ ...template, ...input }), 'invalid', /^The entry is not valid: /);
    expect(error.details.map((detail) => detail.pointer)).toEqual([pointer]);
    expect(check(template)).not.toThrow();
  });

  it.each([
    ['/selectors', { parentId: agent }],
    ['/dnsNames/0', { dnsNames: ['A.example.org'] }],
    ['/dnsNames/0', { dnsNames: ['*.org'] }],
    ['/dnsNames/1', { dnsNames: ['a.org', 'a.org'] }],
    ['/dnsNames/0', { dnsNames: ['a.example.org', '*.example.org'] }],
    ['/dnsNames', { dnsNames: Array.from({ length: 17 }, (_, i) => `h${i}`) }],
    ['/federatesWith/0', { federatesWith: ['spiffe://other.org'] }],
    ['/federatesWith/0', { federatesWith: ['example.org'] }],
    ['/federatesWith/1', { federatesWith: ['other.org', 'other.org'] }],
    ['/federatesWith', { federatesWith: Array.from({ length: 33 }, (_, i) => `d${i}`) }],
    ['/hint', { hint: 'x'.repeat(1025) }],
    ['/hint', { hint: 'a\u0000' }],
    ['/hint', { hint: '\ud800' }],
    ['/expiresAt', { expiresAt: 0 }],
    ['/expiresAt', { expiresAt: 1.5 }],
    ['/expiresAt', { expiresAt: Number.NaN }],
    ['/expiresAt', { expiresAt: 253_402_300_800_000 }],
    ['/jwtClaims/sub', { jwtClaims: { sub: 'x' } }],
    ['/jwtClaims/a~1b', { jwtClaims: { 'a/b': '{{k8s.sa}}' } }],
    ['/jwtClaims', { jwtClaims: { a: 'x'.repeat(4096) } }],
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
  ])('S16: is refused for %s of %j', async (pointer, input) => {
    const error = await expectAppError(check(input), 'invalid', /^The entry is not valid: /);
    expect(error.details.map((detail) => detail.pointer)).toEqual([pointer]);
  });

  it('may reach every limit', () => {
    for (const input of [
      { x509TtlSeconds: 60, jwtTtlSeconds: 30 },
      { x509TtlSeconds: 86_400, jwtTtlSeconds: 3600 },
      { selectors: Array.from({ length: 64 }, (_, i) => `unix:uid:${i}`) },
      { labels: labels(64) },
      { hint: 'ü'.repeat(512), expiresAt: 253_402_300_799_999 },
      { dnsNames: Array.from({ length: 16 }, (_, i) => `h${i}`) },
      { federatesWith: Array.from({ length: 32 }, (_, i) => `d${i}`) },
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
