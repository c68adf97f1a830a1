import { expect, onTestFinished, test } from 'vitest';
import type { Logger } from '../../../src/base/log.ts';
import { WatchSource } from '../../../src/base/watch.ts';
import { LapseReminders } from '../../../src/control/policies/lapse-reminders.ts';
import { parsePolicies } from '../../../src/core/policy/parse.ts';
import { FakeClock } from '../../support/clock.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

function policy(name: string, end: number | undefined) {
  const validity = end === undefined ? '' : `  validity: {notAfter: "${new Date(end).toISOString()}"}\n`;
  return parsePolicies(`apiVersion: writ.dev/v1
kind: AuthorizationPolicy
metadata: {name: ${name}, namespace: shop}
spec:
  reason: SHOP-12
${validity}  rules: [{from: [{source: {namespaces: [shop]}}]}]
`).map((document) => document.policy);
}

function start(...first: ReturnType<typeof policy>[]) {
  const clock = new FakeClock();
  const said: { readonly fields: object; readonly message: string }[] = [];
  const logger = { warn: (fields: object, message: string) => said.push({ fields, message }) } as unknown as Logger;
  const policies = new WatchSource({ policies: first.flat() });
  const open = () => {
    const reminders = new LapseReminders({ policies, clock, logger });
    onTestFinished(() => reminders.close());
    return reminders;
  };
  return { clock, policies, open, heard: () => said.splice(0) };
}

const soon = 'a policy ends soon: what only it allows is denied from then on';
const over = 'a policy has ended: delete it, or give it a new end';

test('says a week, a day and an hour before the end of a grant, and at its end, which, when and why, once each', async () => {
  const end = new FakeClock().now() + 30 * DAY_MS;
  const { clock, open, heard } = start(policy('trial', end), policy('for-ever', undefined));
  open();
  const fields = { policy: 'shop/trial', notAfter: new Date(end).toISOString(), why: 'SHOP-12' };
  await clock.advance(23 * DAY_MS - 1);
  expect(heard()).toEqual([]);
  for (const [ms, message] of [
    [1, soon],
    [6 * DAY_MS, soon],
    [23 * HOUR_MS, soon],
    [HOUR_MS, over],
  ] as const) {
    await clock.advance(ms - 1);
    expect(heard()).toEqual([]);
    await clock.advance(1);
    expect(heard()).toEqual([{ fields, message }]);
  }
  await clock.advance(100 * DAY_MS);
  expect(heard()).toEqual([]);
});

test('says at once what is near its end already, after a restart again, and not again for another change', async () => {
  const now = new FakeClock().now();
  const near = policy('near', now + 2 * HOUR_MS);
  const { clock, policies, open, heard } = start(near);
  const first = open();
  expect(heard()).toMatchObject([{ fields: { policy: 'shop/near' }, message: soon }]);
  policies.set({ policies: [...near, ...policy('other', now + 100 * DAY_MS)] });
  expect(heard()).toEqual([]);
  policies.set({ policies: policy('near', now + 3 * HOUR_MS) });
  expect(heard()).toMatchObject([{ fields: { notAfter: new Date(now + 3 * HOUR_MS).toISOString() } }]);
  first.close();
  await clock.advance(DAY_MS);
  expect(heard()).toEqual([]);
  open();
  expect(heard()).toMatchObject([{ fields: { policy: 'shop/near' }, message: over }]);
});

test('a grant that is prolonged or deleted is not spoken of any more', async () => {
  const end = new FakeClock().now() + 8 * DAY_MS;
  const { clock, policies, open, heard } = start(policy('trial', end));
  open();
  policies.set({ policies: policy('trial', end + 300 * DAY_MS) });
  await clock.advance(10 * DAY_MS);
  policies.set({ policies: [] });
  await clock.advance(400 * DAY_MS);
  expect(heard()).toEqual([]);
});
