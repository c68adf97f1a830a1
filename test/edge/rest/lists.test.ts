import { describe, expect, it } from 'vitest';
import type { World } from './world.ts';
import { createWorld, expectProblem, policyText } from './world.ts';

const day = 24 * 60 * 60 * 1000;
const lists = [
  '/v1/entries',
  '/v1/policies',
  '/v1/join-tokens',
  '/v1/audit/events',
  '/v1/audit/identity',
  '/v1/proxies',
];

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

describe('every list', () => {
  it('says the revision that it is at least as new as', async () => {
    const world = await createWorld();
    await fill(world);
    while (world.policies.current.current.revision < 60) await new Promise((resolve) => setImmediate(resolve));
    for (const url of lists) {
      const body = (await world.request({ url })).json();
      expect(Object.keys(body).sort(), url).toEqual(['items', 'nextCursor', 'revision']);
      if (!url.startsWith('/v1/audit/')) expect(body.revision, url).toBe(60);
    }
  });
});

describe('a cursor', () => {
  const limited = ['/v1/entries?limit=1', '/v1/policies?limit=1', '/v1/join-tokens?limit=1'];

  it('is refused when it was changed, or is none, or is of another list or other filters', async () => {
    const world = await createWorld();
    await fill(world);
    const cursors = new Map<string, string>();
    for (const url of limited) cursors.set(url, (await world.request({ url })).json().nextCursor);
    for (const [url, cursor] of cursors) {
      const others = [...cursors].filter(([from]) => from !== url).map(([, other]) => other);
      const changed = cursor.slice(0, -1) + (cursor.endsWith('A') ? 'B' : 'A');
      for (const wrong of ['', 'x', `${cursor}A`, changed, 'A'.repeat(4000), ...others])
        expectProblem(await world.request({ url: `${url}&cursor=${wrong}` }), 400, 'invalid-cursor');
      expect((await world.request({ url: `${url}&cursor=${cursor}` })).statusCode).toBe(200);
      if (url.includes('join-tokens')) continue;
      for (const filter of ['labelSelector=n', 'namespace=shop'])
        expectProblem(await world.request({ url: `${url}&${filter}&cursor=${cursor}` }), 400, 'invalid-cursor');
    }
  });

  it('expires after 24 hours', async () => {
    const world = await createWorld();
    await fill(world);
    for (const url of limited) {
      const cursor = (await world.request({ url })).json<{ nextCursor: string }>().nextCursor;
      await world.clock.advance(day);
      expect((await world.request({ url: `${url}&cursor=${cursor}` })).statusCode).toBe(200);
      await world.clock.advance(1);
      const problem = expectProblem(await world.request({ url: `${url}&cursor=${cursor}` }), 410, 'cursor-expired');
      expect(problem.type).toBe('/docs/errors#cursor-expired');
    }
  });
});
