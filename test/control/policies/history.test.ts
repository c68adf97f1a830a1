import { expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { PolicyHistory } from '../../../src/control/policies/history.ts';
import { PolicyStore } from '../../../src/control/policies/store.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import { policyKey } from '../../support/policies.ts';
import type { StoreBench } from '../../support/stores.ts';
import { describeEachStore } from '../../support/stores.ts';
import { document } from './documents.ts';

async function setUp(stores: StoreBench) {
  const clock = new FakeClock();
  const store = await stores.open(undefined, { clock });
  const policies = await PolicyStore.open({ store, clock, logger: silentLogger });
  onTestFinished(() => policies.close());
  return { store, clock, policies, history: new PolicyHistory(store) };
}

const web = policyKey('shop', 'web');

describeEachStore('The history of policies', (stores) => {
  it('keeps of every change its author, reason, time and difference', async () => {
    const { clock, policies, history } = await setUp(stores);
    const made = clock.now();
    await policies.put({ source: document('web', '/a'), author: 'ann', reason: 'TICKET-1 ügly' });
    await clock.advance(1000);
    await policies.put({ source: document('web', '/b'), author: 'bob', ifMatch: 1 });
    await policies.delete({ ...web, author: 'cid', reason: 'gone' });
    expect((await history.list()).items).toEqual([
      {
        ...web,
        revision: 3,
        operation: 'delete',
        author: 'cid',
        reason: 'gone',
        time: made + 1000,
        restores: null,
        previous: 2,
      },
      {
        ...web,
        revision: 2,
        operation: 'put',
        author: 'bob',
        reason: null,
        time: made + 1000,
        restores: null,
        previous: 1,
      },
      {
        ...web,
        revision: 1,
        operation: 'put',
        author: 'ann',
        reason: 'TICKET-1 ügly',
        time: made,
        restores: null,
        previous: null,
      },
    ]);
    const second = await history.get(policyKey('shop', 'web'), 2);
    expect(second.source).toBe(document('web', '/b'));
    expect(second.diff).toContain('--- shop/web@1\n+++ shop/web@2\n');
    expect(second.diff).toContain('-        paths: ["/a"]\n+        paths: ["/b"]\n');
    expect((await history.get(policyKey('shop', 'web'), 1)).diff).toMatch(/^--- \/dev\/null\n\+\+\+ shop\/web@1\n/);
    expect(await history.get(policyKey('shop', 'web'), 3)).toMatchObject({
      source: null,
      diff: expect.stringMatching(/^--- shop\/web@2\n\+\+\+ \/dev\/null\n/),
    });
  });

  it('takes the reason of the spec where no other is given', async () => {
    const { policies, history } = await setUp(stores);
    const source = document('web', '/a', { spec: '  reason: TICKET-7\n' });
    await policies.put({ source, author: 'ann' });
    await policies.put({ source: `${source}# more\n`, author: 'ann', ifMatch: '*', reason: 'another' });
    await policies.delete({ ...web, author: 'ann' });
    expect((await history.list()).items.map(({ reason }) => reason)).toEqual([null, 'another', 'TICKET-7']);
  });

  it.each(['', ' ', 'x'.repeat(1025), 'a\nb', 'a\u001b[2J'])('refuses the reason %j', async (reason) => {
    const { policies, history } = await setUp(stores);
    await policies.put({ source: document('web', '/a'), author: 'ann' });
    const refused = /^The reason must have 1 to 1024 characters, on one line/;
    await expectAppError(policies.put({ source: document('x', '/'), author: 'ann', reason }), 'invalid', refused);
    await expectAppError(policies.delete({ ...web, author: 'ann', reason }), 'invalid', refused);
    await expectAppError(policies.rollBack({ ...web, to: 1, author: 'ann', reason, ifMatch: '*' }), 'invalid', refused);
    expect((await history.list()).items).toHaveLength(1);
  });

  it('lists by namespace, name, author and time, page by page, each once', async () => {
    const { clock, policies, history } = await setUp(stores);
    for (let n = 0; n < 12; n += 1) {
      const namespace = n % 2 === 0 ? 'shop' : 'bank';
      const source = document(`p${n % 3}`, `/${n}`, { namespace });
      await policies.put({ source, author: n % 4 === 0 ? 'ann' : 'bob', ifMatch: n < 6 ? undefined : '*' });
      await clock.advance(1000);
    }
    const start = clock.now() - 12_000;
    const revisions = async (filter: Parameters<PolicyHistory['list']>[0]) =>
      (await history.list(filter)).items.map(({ revision }) => revision);
    expect(await revisions({ namespace: 'bank' })).toEqual([12, 10, 8, 6, 4, 2]);
    expect(await revisions({ namespace: 'shop', name: 'p0' })).toEqual([7, 1]);
    expect(await revisions({ author: 'ann' })).toEqual([9, 5, 1]);
    expect(await revisions({ since: start + 3000, until: start + 6000 })).toEqual([6, 5, 4]);
    expect(await revisions({ author: "' or 1=1 --" })).toEqual([]);
    const seen: number[] = [];
    for (let cursor: string | null | undefined; cursor !== null; ) {
      const page = await history.list({ limit: 5, cursor });
      seen.push(...page.items.map(({ revision }) => revision));
      cursor = page.nextCursor;
    }
    expect(seen).toEqual([12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
    const { nextCursor } = await history.list({ limit: 5 });
    await expectAppError(history.list({ limit: 5, cursor: nextCursor, author: 'ann' }), 'invalid-cursor', /cursor/);
    expect((await history.list({ namespace: 'shop', name: 'p0' })).items[0]?.previous).toBe(1);
  });

  it('rolls back to an earlier revision by a new one with its content, byte for byte', async () => {
    const { policies, history } = await setUp(stores);
    const first = `\uFEFF# grüße\r\n${document('web', '/a')}\n\n`;
    await policies.put({ source: first, author: 'ann' });
    await policies.put({ source: document('web', '/b'), author: 'ann', ifMatch: 1 });
    const change = { ...web, to: 1, author: 'bob', reason: 'it broke', ifMatch: 2 } as const;
    const { policy, created } = await policies.rollBack(change);
    expect([policy.source, policy.revision, policy.updatedBy, created]).toEqual([first, 3, 'bob', false]);
    expect(await policies.get(policyKey('shop', 'web'))).toEqual(policy);
    expect(await history.get(policyKey('shop', 'web'), 3)).toMatchObject({
      restores: 1,
      reason: 'it broke',
      source: first,
    });
    await expect.poll(() => policies.current.current.revision).toBe(3);
    // It is like this already: no new revision.
    expect(await policies.rollBack({ ...change, ifMatch: 3 })).toEqual({ policy, created: false });
    expect((await history.list()).items).toHaveLength(3);
  });

  it('rolls back only what nobody changed since, and only to content of this policy', async () => {
    const { policies, history } = await setUp(stores);
    await policies.put({ source: document('web', '/a'), author: 'ann' });
    await policies.put({ source: document('other', '/a'), author: 'ann' });
    await policies.put({ source: document('web', '/b'), author: 'ann', ifMatch: 1 });
    const change = { ...web, to: 1, author: 'bob', reason: 'x', ifMatch: 1 } as const;
    await expectAppError(
      policies.rollBack(change),
      'precondition-failed',
      /^The newest revision of the policy shop\/web is 3, not 1: somebody changed it/,
    );
    await expectAppError(
      policies.rollBack({ ...change, to: 2, ifMatch: 3 }),
      'not-found',
      /^The policy shop\/web has no revision 2\./,
    );
    await expectAppError(policies.rollBack({ ...change, name: 'none' }), 'not-found', /no policy shop\/none/);
    await expectAppError(history.get(policyKey('shop', 'web'), 2), 'not-found', /has no revision 2/);
    const outcomes = await Promise.allSettled(
      ['x', 'y'].map((reason) => policies.rollBack({ ...change, reason, ifMatch: 3 })),
    );
    // The second finds what the first made.
    expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect((await history.list()).items).toHaveLength(4);
  });

  it('brings a deleted policy back, and refuses to go back to a deletion', async () => {
    const { policies } = await setUp(stores);
    await policies.put({ source: document('web', '/a'), author: 'ann' });
    await policies.delete({ ...web, author: 'ann' });
    const change = { ...web, author: 'bob', reason: 'x' } as const;
    await expectAppError(policies.rollBack({ ...change, to: 1, ifMatch: 1 }), 'precondition-failed', /is 2, not 1/);
    await expectAppError(
      policies.rollBack({ ...change, to: 2, ifMatch: 2 }),
      'invalid',
      /^Revision 2 is the deletion of the policy shop\/web/,
    );
    const { policy, created } = await policies.rollBack({ ...change, to: 1, ifMatch: 2 });
    expect([policy.revision, created]).toEqual([3, true]);
  });

  it('changes nothing in a dry run of a roll-back', async () => {
    const { policies, history, store } = await setUp(stores);
    await policies.put({ source: document('web', '/a'), author: 'ann' });
    await policies.put({ source: document('web', '/b'), author: 'ann', ifMatch: 1 });
    const { policy } = await policies.rollBack({ ...web, to: 1, author: 'b', reason: 'x', ifMatch: 2, dryRun: true });
    expect([policy.revision, policy.source]).toEqual([0, document('web', '/a')]);
    expect((await history.list()).items).toHaveLength(2);
    expect(store.revision.current).toBe(2);
  });

  it('keeps the texts of a List of one and of a document behind others as what they are', async () => {
    const { policies } = await setUp(stores);
    const item = document('web', '/a').trimEnd().replaceAll('\n', '\n    ');
    const { policy } = await policies.put({ source: `apiVersion: v1\nkind: List\nitems:\n  - ${item}\n`, author: 'a' });
    expect(policy.source).toContain('kind: AuthorizationPolicy');
    expect(policy.source).not.toContain('List');
    const behind = `# one\n---\n# two\n---\n${document('next', '/a')}...\n`;
    const { policy: next } = await policies.put({ source: behind, author: 'a' });
    expect(next.source).toBe(behind);
    expect(behind.split('\n')[(next.ruleLines[0] ?? 0) - 1]).toBe('  - to:');
  });
});
