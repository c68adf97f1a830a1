import { expect, test } from 'vitest';
import { decodeEvent, encodeEvent } from '../../../src/core/audit/canonical.ts';
import type { DecisionEvent } from '../../../src/core/audit/event.ts';
import { expectAppError } from '../../support/errors.ts';

const plain: DecisionEvent = {
  kind: 'decision',
  call: '0190',
  time: 1,
  source: 'spiffe://a/b',
  destination: 'spiffe://a/c',
  protocol: 'http',
  method: 'GET',
  host: 'c',
  path: '/',
  port: 80,
  decision: 'allow',
  reason: 'allow-rule',
  rule: 'n/p@1#0',
  policyRevision: 1,
  traceId: '',
  tokenSubject: '',
  certificateSerial: '0a',
};

test('a decision without marks has the bytes that it had before there were any', () => {
  const bytes = encodeEvent(plain);
  expect(bytes.toString()).toBe(JSON.stringify(plain));
  expect(decodeEvent(bytes)).toStrictEqual(plain);
});

test('what shadow policies would have decided, and the AUDIT rule, are part of the bytes', () => {
  const marked: DecisionEvent = { ...plain, shadowDecision: 'deny', shadowRule: 'n/try@2#0', auditRule: 'n/watch@3#1' };
  const bytes = encodeEvent(marked);
  expect(bytes.toString()).toBe(JSON.stringify(marked));
  expect(decodeEvent(bytes)).toStrictEqual(marked);
});

test('that a call goes out is part of the bytes, and for one that comes in there is nothing', () => {
  const out: DecisionEvent = { ...plain, direction: 'outbound' };
  expect(encodeEvent(out).toString()).toMatch(/,"direction":"outbound"\}$/);
  expect(decodeEvent(encodeEvent(out))).toEqual(out);
  expect(encodeEvent(plain).toString()).not.toContain('direction');
});

test('marks that are no marks are refused', async () => {
  for (const marks of [{ shadowDecision: 'maybe' }, { shadowRule: '' }, { auditRule: 'a b' }, { auditRule: null }]) {
    const bytes = Buffer.from(JSON.stringify({ ...plain, ...marks }));
    await expectAppError(async () => decodeEvent(bytes), 'invalid', /out of range/);
  }
});
