import { expect, onTestFinished, test } from 'vitest';
import { AppError } from '../../../../src/base/errors.ts';
import { silentLogger } from '../../../../src/base/log.ts';
import { WatchSource } from '../../../../src/base/watch.ts';
import { IssuerKeys } from '../../../../src/control/policies/keys/issuer-keys.ts';
import { nextAttemptMs } from '../../../../src/control/policies/keys/key-schedule.ts';
import type { KeySource } from '../../../../src/control/policies/keys/key-source.ts';
import type { KeyStorage } from '../../../../src/control/policies/keys/key-storage.ts';
import { StoredKeys } from '../../../../src/control/policies/keys/key-storage.ts';
import type { RequestAuthentication } from '../../../../src/core/policy/request-authentication.ts';
import { FakeClock } from '../../../support/clock.ts';
import { authentication, EndUsers } from '../../../support/end-users.ts';
import { expectAppError } from '../../../support/errors.ts';
import { describeEachStore } from '../../../support/stores.ts';

const MINUTE = 60_000;
const URL = 'https://accounts.example/keys';

class MemoryStorage implements KeyStorage {
  readonly rows = new Map<string, { readonly jwks: string; readonly fetchedAt: number }>();
  load = async () => new Map(this.rows);
  save = async (source: string, jwks: string, fetchedAt: number) => void this.rows.set(source, { jwks, fetchedAt });
  forget = async (source: string) => void this.rows.delete(source);
}

/** With a fetch that the test answers. */
async function start(o: { readonly storage?: KeyStorage; readonly list?: RequestAuthentication[] } = {}) {
  const users = new EndUsers();
  const rule = { ...users.rule({ jwksUri: URL }) };
  delete (rule as { jwks?: string }).jwks;
  const remote = authentication(rule);
  const policies = new WatchSource<{ requestAuthentications: readonly RequestAuthentication[] }>({
    requestAuthentications: o.list ?? [remote],
  });
  const clock = new FakeClock();
  const asked: KeySource[] = [];
  const world = { answer: async (_source: KeySource, _signal: AbortSignal): Promise<string> => users.jwks };
  const keys = await IssuerKeys.open({
    policies,
    fetch: async (source, { signal }) => {
      asked.push(source);
      return await world.answer(source, signal);
    },
    storage: o.storage ?? new MemoryStorage(),
    clock,
    logger: silentLogger,
    random: () => Buffer.alloc(4, 0xff),
  });
  const stop = new AbortController();
  const running = keys.run(stop.signal);
  onTestFinished(async () => {
    stop.abort();
    await running;
  });
  await clock.advance(0);
  const fail = async () => {
    throw new AppError('unavailable', 'The issuer could not be reached, or its certificate is not trusted.');
  };
  const jwksOf = (one = remote) => keys.withKeys(one).rules[0]?.jwks;
  return { users, keys, clock, asked, world, policies, remote, rule, fail, jwksOf };
}

test('rule 50: keys are fetched at once, and every 20 minutes', async () => {
  const { clock, asked, jwksOf, users } = await start();
  expect(asked).toEqual([{ kind: 'jwks', url: URL }]);
  expect(JSON.parse(jwksOf() ?? '').keys[0].kid).toBe(users.kid);
  await clock.advance(20 * MINUTE - 1000);
  expect(asked).toHaveLength(1);
  await clock.advance(1000);
  expect(asked).toHaveLength(2);
});

test('rule 50: after a failure in one minute, then at doubling distances up to an hour, and 20 minutes after a good answer', async () => {
  const { clock, asked, world, fail, users } = await start();
  world.answer = fail;
  await clock.advance(20 * MINUTE);
  expect(asked).toHaveLength(2);
  for (const minutes of [1, 2, 4, 8, 16, 32, 60, 60]) {
    const before = asked.length;
    await clock.advance(minutes * MINUTE - 1000);
    expect(asked, `before ${minutes}`).toHaveLength(before);
    await clock.advance(1000);
    expect(asked, `after ${minutes}`).toHaveLength(before + 1);
  }
  world.answer = async () => users.jwks;
  await clock.advance(60 * MINUTE);
  const before = asked.length;
  await clock.advance(20 * MINUTE);
  expect(asked).toHaveLength(before + 1);
});

test('the distances are shortened at random, by a tenth at most', () => {
  expect([nextAttemptMs(0, 0), nextAttemptMs(0, 1)]).toEqual([18 * MINUTE, 20 * MINUTE]);
  expect(nextAttemptMs(1000, 1)).toBe(60 * MINUTE);
});

test('rule 50, with our difference: the last good keys stay, are said to be stale, and say since when', async () => {
  const { keys, clock, world, fail, jwksOf, rule } = await start();
  const good = jwksOf();
  const fetchedAt = clock.now();
  world.answer = fail;
  await clock.advance(20 * MINUTE);
  expect(jwksOf()).toBe(good);
  expect(keys.stateOf(rule)).toMatchObject({
    jwks: good,
    fetchedAt,
    checkedAt: clock.now(),
    lastError: 'The issuer could not be reached, or its certificate is not trusted.',
    nextAt: clock.now() + MINUTE,
  });
});

test.each([
  ['no JSON', 'x'],
  ['no set', '{}'],
  ['no key that signs', '{"keys":[]}'],
  ['a symmetric key', '{"keys":[{"kty":"oct","k":"AAAA"}]}'],
  ['a member twice', '{"keys":[],"keys":[]}'],
])('an answer that is %s counts as none: no key is made up', async (_, text) => {
  const { keys, clock, world, jwksOf, rule } = await start();
  const good = jwksOf();
  world.answer = async () => text;
  await clock.advance(20 * MINUTE);
  expect(jwksOf()).toBe(good);
  expect(keys.stateOf(rule)?.lastError).toMatch(/^It /);
});

test('rule 50, with our difference: where there have never been any keys, there are none', async () => {
  const { keys, policies, world, fail, clock } = await start();
  world.answer = fail;
  const other = authentication({ ...new EndUsers({ issuer: 'https://other.example' }).rule() });
  const { jwks: _, ...rule } = other.rules[0] ?? new EndUsers().rule();
  const remote = { ...other, rules: [rule] };
  policies.set({ requestAuthentications: [remote] });
  await clock.advance(0);
  expect(keys.withKeys(remote).rules[0]?.jwks).toBe('');
  expect(keys.stateOf(rule)).toMatchObject({
    source: { kind: 'discovery', url: 'https://other.example' },
    jwks: undefined,
  });
});

test('a key that the issuer withdraws is gone with the next good answer, and whoever publishes is told', async () => {
  const { keys, clock, world, jwksOf, remote } = await start();
  const version = keys.changes.version;
  const before = keys.withKeys(remote);
  expect(keys.withKeys(remote)).toBe(before);
  await clock.advance(20 * MINUTE);
  // The same keys: nothing to tell.
  expect(keys.changes.version).toBe(version);
  expect(keys.withKeys(remote)).toBe(before);
  world.answer = async () => new EndUsers({ kid: 'k2' }).jwks;
  await clock.advance(20 * MINUTE);
  expect(keys.changes.version).toBe(version + 1);
  expect(keys.withKeys(remote)).not.toBe(before);
  expect(JSON.parse(jwksOf() ?? '').keys.map((key: { kid: string }) => key.kid)).toEqual(['k2']);
});

test('issuers that never answer do not keep those waiting whose keys are known', async () => {
  const { clock, asked, world, policies, remote, rule, users } = await start();
  const silent = Array.from({ length: 100 }, (_, i) => ({ ...rule, jwksUri: `https://silent.example/${i}` }));
  world.answer = (source, signal) =>
    source.url === URL
      ? Promise.resolve(users.jwks)
      : new Promise((_, reject) => signal.addEventListener('abort', () => reject(new AppError('unavailable', 'gone'))));
  policies.set({ requestAuthentications: [remote, authentication(...silent)] });
  await clock.advance(0);
  const before = asked.length;
  await clock.advance(20 * MINUTE);
  expect(asked.slice(before)).toContainEqual({ kind: 'jwks', url: URL });
});

test('an operator can ask at once, and is told why it failed', async () => {
  const { keys, world, fail, remote, asked, jwksOf } = await start();
  world.answer = async () => new EndUsers({ kid: 'new' }).jwks;
  await keys.refresh(remote);
  expect(jwksOf()).toContain('new');
  world.answer = fail;
  await expectAppError(keys.refresh(remote), 'unavailable', /could not be reached/);
  expect(asked).toHaveLength(3);
});

test('one issuer that several name is asked once, and none that nobody names any more', async () => {
  const { policies, remote, asked, clock } = await start();
  policies.set({ requestAuthentications: [remote, { ...remote, name: 'other' }] });
  await clock.advance(0);
  expect(asked).toHaveLength(1);
  policies.set({ requestAuthentications: [] });
  await clock.advance(60 * MINUTE);
  expect(asked).toHaveLength(1);
});

test('keys that stand in a document are not fetched, and travel without what a verifier does not need', async () => {
  const users = new EndUsers();
  const jwks = JSON.stringify({ keys: [{ ...users.jwk, x5c: ['AAAA'], note: 'x' }] });
  const local = authentication(users.rule({ jwks }));
  const { keys, asked } = await start({ list: [local] });
  expect(asked).toEqual([]);
  const sent = keys.withKeys(local).rules[0]?.jwks ?? '';
  expect(JSON.parse(sent).keys).toEqual([users.jwk]);
});

test('good keys outlive a restart while the issuer is away', async () => {
  const storage = new MemoryStorage();
  const first = await start({ storage });
  const good = first.jwksOf();
  const second = await IssuerKeys.open({
    policies: new WatchSource({ requestAuthentications: [first.remote] }),
    fetch: async () => {
      throw new AppError('unavailable', 'away');
    },
    storage,
    clock: new FakeClock(),
    logger: silentLogger,
  });
  expect(second.withKeys(first.remote).rules[0]?.jwks).toBe(good);
  await second.close();
});

describeEachStore('Keys of issuers', (stores) => {
  test('the store keeps the newest of each place', async () => {
    const storage = new StoredKeys(await stores.open());
    await storage.save('jwks a', 'one', 10);
    await storage.save('jwks a', 'two', 20);
    await storage.save('jwks a', 'old', 15);
    await storage.save('jwks b', 'three', 1);
    await storage.forget('jwks b');
    expect(await storage.load()).toEqual(new Map([['jwks a', { jwks: 'two', fetchedAt: 20 }]]));
  });
});
