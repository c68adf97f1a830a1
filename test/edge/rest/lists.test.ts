import { describe, expect, it } from 'vitest';
import { policyKey } from '../../support/policies.ts';
import type { World } from './world.ts';
import { createWorld, expectProblem, policyText } from './world.ts';

const day = 24 * 60 * 60 * 1000;
/** The others are scripted here; test/control/ledger reads them page by page. */
const paged = [
  '/v1/entries',
  '/v1/policies',
  '/v1/join-tokens',
  '/v1/nodes',
  '/v1/federation',
  '/v1/proxies',
  '/v1/revisions',
] as const;

/** Of every GET that answers with a list, as the OpenAPI document says. */
async function listsOf(world: World): Promise<{ readonly path: string; readonly parameters: readonly string[] }[]> {
  const { paths } = (await world.request({ url: '/v1/openapi.json' })).json<OpenApi>();
  return Object.entries(paths).flatMap(([path, { get }]) => {
    const listed = get?.responses['200']?.content?.['application/json']?.schema?.properties?.items;
    return listed === undefined ? [] : [{ path, parameters: (get?.parameters ?? []).map(({ name }) => name) }];
  });
}

interface OpenApi {
  readonly paths: Record<string, { readonly get?: OpenApiOperation }>;
}
interface OpenApiOperation {
  readonly parameters?: readonly { readonly name: string }[];
  readonly responses: Record<string, { content?: Record<string, { schema?: { properties?: { items?: object } } }> }>;
}

const node = {
  kind: 'workload',
  method: 'join_token',
  subject: 'x',
  selectors: [],
  canReattest: false,
  serial: '0a',
  expiresAt: Date.UTC(2027, 0, 1),
} as const;
const proxy = {
  version: '0.1.0',
  connected: true,
  state: 'synced',
  serving: true,
  desiredRevision: 5,
  desiredChange: null,
  staleSince: null,
  acknowledgedRevision: 5,
  acknowledgedAt: 0,
  connectedSince: 0,
  lastSeen: 0,
  endpoints: [],
  lastError: null,
} as const;

/** 30 of each, the nth with the labels n, even or odd, and of every tenth an owner. */
async function fill(world: World): Promise<void> {
  for (let n = 0; n < 30; n += 1) {
    await world.clock.advance(1);
    const labels = { n: `${n}`, parity: n % 2 === 0 ? 'even' : 'odd', ...(n % 10 === 0 && { owner: '' }) };
    const name = `s${String(n).padStart(2, '0')}`;
    const entry = await world.entries.create({ spiffeId: `spiffe://example.org/ns/shop/sa/${name}`, labels });
    await world.deps.joinTokens.create({ entryId: entry.id });
    const text = policyText(name).replace('spec:', `  labels: ${JSON.stringify(labels)}\nspec:`);
    await world.policies.put({ source: text, author: 'admin' });
  }
}

/** 30 of what there is besides. */
async function fillAll(world: World): Promise<void> {
  await fill(world);
  const bundleEndpoint = { url: 'https://partner.example/bundle', profile: 'https_web' } as const;
  for (let n = 0; n < 30; n += 1) {
    const name = `s${String(n).padStart(2, '0')}`;
    const id = { instanceId: name, spiffeId: `spiffe://example.org/ns/shop/sa/${name}` };
    await world.nodes.admit({ ...node, ...id, entryId: null });
    await world.deps.federation.put({ trustDomain: `${name}.example`, bundleEndpoint });
    world.proxies.push({ ...proxy, ...id });
  }
}

const filters: Readonly<Record<string, readonly string[]>> = {
  '/v1/entries': ['labelSelector=n', 'namespace=shop'],
  '/v1/policies': ['labelSelector=n', 'namespace=shop'],
  '/v1/nodes': ['kind=workload', 'banned=false'],
  '/v1/revisions': ['author=admin', 'namespace=shop', 'since=1h'],
};

interface Listed {
  readonly items: readonly unknown[];
  readonly nextCursor: string | null;
}

type Item = { labels?: { n: string }; metadata?: { labels: { n: string } } };

async function pagesOf(world: World, url: string): Promise<string[][]> {
  const pages: string[][] = [];
  let cursor: string | null = null;
  do {
    const response = await world.request({ url: cursor === null ? url : `${url}&cursor=${cursor}` });
    expect(response.statusCode, response.payload).toBe(200);
    const body: { items: Item[]; nextCursor: string | null } = response.json();
    pages.push(body.items.map((item) => (item.labels ?? item.metadata?.labels)?.n ?? ''));
    cursor = body.nextCursor;
  } while (cursor !== null);
  return pages;
}

describe('labelSelector', () => {
  it.each(['/v1/entries', '/v1/policies'])('chooses on %s, and the limit counts what matches', async (path) => {
    const world = await createWorld();
    await fill(world);
    const select = (selector: string, rest = '') =>
      pagesOf(world, `${path}?labelSelector=${encodeURIComponent(selector)}${rest}`);
    expect(await select('owner')).toEqual([['0', '10', '20']]);
    expect(await select('owner', '&limit=2')).toEqual([['0', '10'], ['20']]);
    expect(await select('owner', '&limit=3')).toEqual([['0', '10', '20']]);
    expect(await select('parity!=even,n in (1,3,4,29)', '&limit=1')).toEqual([['1'], ['3'], ['29']]);
    expect(await select('!n')).toEqual([[]]);
    expect(await select('parity=odd', '&namespace=bank')).toEqual([[]]);
    expect((await select('!owner', '&limit=4')).map((page) => page.length)).toEqual([4, 4, 4, 4, 4, 4, 3]);
  });

  it.each(['/v1/entries', '/v1/policies'])('of %s is refused with the place of the mistake', async (path) => {
    const world = await createWorld();
    const problem = expectProblem(await world.request({ url: `${path}?labelSelector=a%3D%3D%3Db` }), 400, 'invalid');
    expect(problem.detail).toMatch(/^labelSelector cannot be read at character 4: /);
    expect(problem.errors?.[0]?.pointer).toBe('/labelSelector');
    for (const text of ['', 'a'.repeat(1025)])
      expectProblem(await world.request({ url: `${path}?labelSelector=${text}` }), 400, 'invalid');
  });

  it('is not for lists of things without labels', async () => {
    const world = await createWorld();
    expectProblem(await world.request({ url: '/v1/join-tokens?labelSelector=a' }), 400, 'invalid');
  });
});

/** What stands in the configuration of a server: short, and the same until it starts again. */
const configured: ReadonlySet<string> = new Set(['/v1/audit/sinks']);

describe('every list', () => {
  it('says the revision that it is at least as new as', async () => {
    const world = await createWorld();
    await fillAll(world);
    const { revision } = await world.policies.get(policyKey('shop', 's29'));
    while (world.policies.current.current.revision < revision) await new Promise((resolve) => setImmediate(resolve));
    const lists = (await listsOf(world)).filter(
      ({ path }) => !/^\/v1\/(?!policies)[a-z-]+\/\{namespace\}/.test(path) && !configured.has(path),
    );
    expect(lists.map(({ path }) => path)).toEqual(expect.arrayContaining([...paged, '/v1/authorities']));
    for (const { path } of lists) {
      const body = (await world.request({ url: path.replace('{namespace}/{name}', 'shop/s29') })).json();
      expect(Object.keys(body), path).toEqual(expect.arrayContaining(['items', 'nextCursor', 'revision']));
      if (!path.startsWith('/v1/audit/')) expect(body.revision, path).toBeGreaterThanOrEqual(revision);
    }
  });

  it('comes in pages, unless there can never be many', async () => {
    const world = await createWorld();
    for (const { path, parameters } of await listsOf(world)) {
      if (path === '/v1/authorities' || configured.has(path)) continue;
      expect(parameters, path).toEqual(expect.arrayContaining(['limit', 'cursor']));
    }
  });

  it('gives each exactly once, 50 at a time unless asked otherwise', async () => {
    const world = await createWorld();
    await fillAll(world);
    for (const path of paged) {
      const whole = (await world.request({ url: path })).json<Listed>();
      expect([whole.items.length, whole.nextCursor], path).toEqual([30, null]);
      const pages: unknown[][] = [];
      for (let cursor: string | null = ''; cursor !== null; ) {
        const url: string = `${path}?limit=12${cursor === '' ? '' : `&cursor=${cursor}`}`;
        const page: Listed = (await world.request({ url })).json();
        pages.push([...page.items]);
        cursor = page.nextCursor;
      }
      expect([pages.map((page) => page.length), pages.flat()], path).toEqual([[12, 12, 6], whole.items]);
      for (const limit of [0, 501])
        expectProblem(await world.request({ url: `${path}?limit=${limit}` }), 400, 'invalid');
    }
  });
});

describe('a cursor', () => {
  const limited = paged.map((path) => `${path}?limit=1`);

  it('is refused when it was changed, or is none, or is of another list or other filters', async () => {
    const world = await createWorld();
    await fillAll(world);
    const cursors = new Map<string, string>();
    for (const url of limited) cursors.set(url, (await world.request({ url })).json().nextCursor);
    for (const [url, cursor] of cursors) {
      const others = [...cursors].filter(([from]) => from !== url).map(([, other]) => other);
      const changed = cursor.slice(0, -1) + (cursor.endsWith('A') ? 'B' : 'A');
      for (const wrong of ['', 'x', `${cursor}A`, changed, 'A'.repeat(4000), ...others])
        expectProblem(await world.request({ url: `${url}&cursor=${wrong}` }), 400, 'invalid-cursor');
      expect((await world.request({ url: `${url}&cursor=${cursor}` })).statusCode).toBe(200);
      for (const filter of filters[url.split('?', 1)[0] ?? ''] ?? [])
        expectProblem(await world.request({ url: `${url}&${filter}&cursor=${cursor}` }), 400, 'invalid-cursor');
    }
  });

  it('expires after 24 hours', async () => {
    const world = await createWorld();
    await fillAll(world);
    for (const url of limited) {
      const cursor = (await world.request({ url })).json<{ nextCursor: string }>().nextCursor;
      world.clock.jump(day);
      expect((await world.request({ url: `${url}&cursor=${cursor}` })).statusCode).toBe(200);
      world.clock.jump(1);
      const problem = expectProblem(await world.request({ url: `${url}&cursor=${cursor}` }), 410, 'cursor-expired');
      expect(problem.type).toBe('/docs/errors#cursor-expired');
    }
  });
});
