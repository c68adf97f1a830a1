import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import { adminActions, adminOutcomes } from '../../../src/core/audit/admin-event.ts';
import { decodeEvent, encodeEvent, MAX_EVENT_BYTES } from '../../../src/core/audit/canonical.ts';
import type { AuditEvent } from '../../../src/core/audit/event.ts';
import { gapReasons, identityActions, identityOutcomes, MAX_RECORDED_TEXT } from '../../../src/core/audit/event.ts';
import { decisionReasons } from '../../../src/core/policy/model.ts';
import { completion, decision } from '../../support/audit.ts';
import { expectAppError } from '../../support/errors.ts';

const golden: AuditEvent = {
  kind: 'decision',
  call: '01890000-0000-7000-8000-000000000001',
  time: 1_767_225_600_000,
  source: 'spiffe://example.org/ns/shop/sa/web',
  destination: 'spiffe://example.org/ns/shop/sa/orders',
  protocol: 'grpc',
  method: 'POST',
  host: 'orders.shop.mesh',
  path: '/shop.Orders/"Get"',
  port: 8080,
  decision: 'allow',
  reason: 'allow-rule',
  rule: 'shop/orders@3#0',
  policyRevision: 3,
  traceId: '4bf92f3577b34da6a3ce929d0e0e4736',
  tokenSubject: '',
  certificateSerial: '0a1b2c',
};

/** Fixed for ever: hashes and signatures are over these bytes. */
const goldenBytes =
  '{"kind":"decision","call":"01890000-0000-7000-8000-000000000001","time":1767225600000,' +
  '"source":"spiffe://example.org/ns/shop/sa/web","destination":"spiffe://example.org/ns/shop/sa/orders",' +
  '"protocol":"grpc","method":"POST","host":"orders.shop.mesh","path":"/shop.Orders/\\"Get\\"","port":8080,' +
  '"decision":"allow","reason":"allow-rule","rule":"shop/orders@3#0","policyRevision":3,' +
  '"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","tokenSubject":"","certificateSerial":"0a1b2c"}';

const goldenIdentity: AuditEvent = {
  kind: 'identity',
  time: 1_767_225_600_000,
  action: 'jwt-svid',
  outcome: 'refused',
  subject: 'spiffe://example.org/ns/shop/sa/orders',
  actor: 'spiffe://example.org/writ/agent/x509pop/7f3a',
  entry: '019b7600-0000-7000-8000-000000000001',
  instance: '0123456789abcdef0123456789abcdef',
  serial: '',
  method: 'x509pop',
  selectors: ['k8s:ns:shop', 'k8s:pod-label:app:"orders"'],
  audience: ['spiffe://example.org/ns/bank/sa/payments'],
  expiresAt: 0,
  reason: 'forbidden: the entry is not served by this agent – ask for another.',
  source: '10.0.0.7',
};

/** Fixed for ever, too. */
const goldenIdentityBytes =
  '{"kind":"identity","time":1767225600000,"action":"jwt-svid","outcome":"refused",' +
  '"subject":"spiffe://example.org/ns/shop/sa/orders","actor":"spiffe://example.org/writ/agent/x509pop/7f3a",' +
  '"entry":"019b7600-0000-7000-8000-000000000001","instance":"0123456789abcdef0123456789abcdef","serial":"",' +
  '"method":"x509pop","selectors":["k8s:ns:shop","k8s:pod-label:app:\\"orders\\""],' +
  '"audience":["spiffe://example.org/ns/bank/sa/payments"],"expiresAt":0,' +
  '"reason":"forbidden: the entry is not served by this agent – ask for another.","source":"10.0.0.7"}';

const goldenAdmin: AuditEvent = {
  kind: 'admin',
  time: 1_767_225_600_000,
  action: 'call',
  outcome: 'done',
  actor: 'ann',
  role: 'editor',
  credential: '019b7600-0000-7000-8000-000000000009',
  source: '10.0.0.7',
  operation: 'putPolicy',
  permission: 'policies:write',
  object: '/v1/policies/shop/web',
  query: 'reason=TICKET-1 "urgent"',
  request: '019b7600-0000-7000-8000-000000000001',
  status: 200,
  count: 1,
  lastTime: 0,
  before: '',
  after: 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  detail: '+++ shop/web@3\n+kind: AuthorizationPolicy\n',
  reason: '',
};

/** Fixed for ever, too. */
const goldenAdminBytes =
  '{"kind":"admin","time":1767225600000,"action":"call","outcome":"done","actor":"ann","role":"editor",' +
  '"credential":"019b7600-0000-7000-8000-000000000009","source":"10.0.0.7","operation":"putPolicy",' +
  '"permission":"policies:write","object":"/v1/policies/shop/web","query":"reason=TICKET-1 \\"urgent\\"",' +
  '"request":"019b7600-0000-7000-8000-000000000001","status":200,"count":1,"lastTime":0,"before":"",' +
  '"after":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",' +
  '"detail":"+++ shop/web@3\\n+kind: AuthorizationPolicy\\n","reason":""}';

const count = fc.nat(Number.MAX_SAFE_INTEGER);
const time = fc.nat(253_402_300_799_999);
const callerText = fc.string({ unit: 'binary', maxLength: 40 });
const anyText = fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 40 }).map((u) => String.fromCharCode(...u));
const eventArbitrary: fc.Arbitrary<AuditEvent> = fc.oneof(
  fc.record({
    kind: fc.constant('decision' as const),
    call: fc.uuid(),
    time,
    source: fc.constantFrom('', 'spiffe://example.org/ns/a/sa/b'),
    destination: fc.constant('spiffe://example.org/ns/a/sa/c'),
    protocol: fc.constantFrom('http' as const, 'grpc' as const, 'tcp' as const),
    method: callerText,
    host: anyText,
    path: anyText,
    port: fc.nat(65_535),
    decision: fc.constantFrom('allow' as const, 'deny' as const),
    reason: fc.constantFrom(...decisionReasons),
    rule: fc.constantFrom('default-deny', 'a/b@1#0'),
    policyRevision: count,
    traceId: fc.constantFrom('', '0'.repeat(32)),
    tokenSubject: anyText,
    certificateSerial: fc.constantFrom('', 'ff00'),
  }),
  fc.record({
    kind: fc.constant('completion' as const),
    call: fc.uuid(),
    time,
    status: fc.nat(999),
    durationMs: count,
    bytesIn: count,
    bytesOut: count,
  }),
  fc.record({ kind: fc.constant('heartbeat' as const), time }),
  fc.record({
    kind: fc.constant('gap' as const),
    time,
    reason: fc.constantFrom(...gapReasons),
    epoch: count,
    fromSeq: count,
  }),
  fc.record(
    {
      kind: fc.constant('gap' as const),
      time,
      reason: fc.constant('degraded' as const),
      epoch: count,
      fromSeq: count,
      calls: count,
      since: time,
      source: fc.constantFrom('', 'spiffe://example.org/ns/shop/sa/web'),
      operation: fc.constantFrom('http:GET:8080', 'tcp:5432'),
      rule: fc.constant('shop/web@1#0'),
      policyRevision: count,
    },
    { requiredKeys: ['kind', 'time', 'reason', 'epoch', 'fromSeq'] },
  ),
  fc.record({
    kind: fc.constant('identity' as const),
    time,
    action: fc.constantFrom(...identityActions),
    outcome: fc.constantFrom(...identityOutcomes),
    subject: anyText,
    actor: anyText,
    entry: callerText,
    instance: callerText,
    serial: callerText,
    method: callerText,
    selectors: fc.array(anyText, { maxLength: 64 }),
    audience: fc.array(anyText, { maxLength: 32 }),
    expiresAt: time,
    reason: anyText,
    source: callerText,
  }),
  fc.record({
    kind: fc.constant('admin' as const),
    time,
    action: fc.constantFrom(...adminActions),
    outcome: fc.constantFrom(...adminOutcomes),
    actor: callerText,
    role: callerText,
    credential: callerText,
    source: callerText,
    operation: anyText,
    permission: callerText,
    object: anyText,
    query: anyText,
    request: callerText,
    status: fc.nat(999),
    count,
    lastTime: time,
    before: fc.constantFrom('', 'ff00'),
    after: fc.constantFrom('', 'e3'.repeat(32)),
    detail: anyText,
    reason: anyText,
  }),
);

describe('the canonical bytes of an event', () => {
  it('are those that were once fixed', () => {
    expect(encodeEvent(golden).toString('utf8')).toBe(goldenBytes);
    expect(decodeEvent(Buffer.from(goldenBytes))).toEqual(golden);
    expect(encodeEvent(goldenIdentity).toString('utf8')).toBe(goldenIdentityBytes);
    expect(decodeEvent(Buffer.from(goldenIdentityBytes))).toEqual(goldenIdentity);
    expect(encodeEvent(goldenAdmin).toString('utf8')).toBe(goldenAdminBytes);
    expect(decodeEvent(Buffer.from(goldenAdminBytes))).toEqual(goldenAdmin);
  });

  it('do not depend on the order in which the event names its fields', () => {
    const reversed = Object.fromEntries(Object.entries(golden).reverse()) as unknown as AuditEvent;
    expect(encodeEvent(reversed).toString('utf8')).toBe(goldenBytes);
  });

  it('give back every event, whatever characters a caller has sent', () => {
    fc.assert(
      fc.property(eventArbitrary, (event) => {
        expect(decodeEvent(encodeEvent(event))).toEqual(event);
      }),
    );
  });

  it('audit T27: stay below the limit when every text is as long and as awkward as it can be', () => {
    const worst = '\u0001'.repeat(MAX_RECORDED_TEXT);
    const event = decision({
      method: worst,
      host: worst,
      path: worst,
      tokenSubject: worst,
      source: '"'.repeat(2048),
      destination: '\\'.repeat(2048),
      rule: '"'.repeat(1024),
    });
    const bytes = encodeEvent(event);
    expect(bytes.length).toBeLessThan(MAX_EVENT_BYTES);
    expect(decodeEvent(bytes)).toEqual(event);
  });

  it('stay below the limit for an identity event, too, whatever anybody claimed', () => {
    const [long, lists] = ['\u0001'.repeat(5000), Array.from({ length: 500 }, () => '\u0001'.repeat(600))];
    const event: AuditEvent = {
      ...goldenIdentity,
      subject: long,
      actor: long,
      entry: long,
      instance: long,
      serial: long,
      method: long,
      selectors: lists,
      audience: lists,
      reason: long,
      source: long,
    };
    const bytes = encodeEvent(event);
    expect(bytes.length).toBeLessThan(MAX_EVENT_BYTES);
    expect(encodeEvent(decodeEvent(bytes)).equals(bytes)).toBe(true);
    const lengths = Object.fromEntries(Object.entries(decodeEvent(bytes)).map(([name, value]) => [name, value.length]));
    expect(lengths).toMatchObject({
      subject: 2048,
      actor: 2048,
      entry: 128,
      instance: 128,
      serial: 128,
      method: 128,
      reason: 1024,
      source: 128,
    });
  });

  it('stay below the limit for an administrative event with a change as long as is recorded', () => {
    const long = '\u0001'.repeat(20_000);
    const texts = { actor: long, role: long, credential: long, source: long, operation: long, permission: long };
    const event: AuditEvent = { ...goldenAdmin, ...texts, object: long, query: long, detail: long, reason: long };
    const bytes = encodeEvent(event);
    expect(bytes.length).toBeLessThan(MAX_EVENT_BYTES);
    const recorded = decodeEvent(bytes);
    const { detail, object } = recorded as unknown as { readonly detail: string; readonly object: string };
    expect([detail.length, object.length, detail.at(-1)]).toEqual([8192, 2048, '…']);
    expect(encodeEvent(recorded).equals(bytes)).toBe(true);
  });

  it('hold the first of a list that is too long, each cut to its limit, and how many there were besides', () => {
    const recorded = (selectors: readonly string[]) => {
      const event = decodeEvent(encodeEvent({ ...goldenIdentity, selectors }));
      return event.kind === 'identity' ? event.selectors : [];
    };
    const some = Array.from({ length: 100 }, (_, n) => `unix:gid:${n}`);
    expect(recorded(some.slice(0, 64))).toEqual(some.slice(0, 64));
    expect(recorded(some.slice(0, 65))).toEqual([...some.slice(0, 63), '… and 2 more']);
    expect(recorded(some)).toEqual([...some.slice(0, 63), '… and 37 more']);
    expect(recorded(['x'.repeat(513), 'y'])).toEqual([`${'x'.repeat(511)}…`, 'y']);
    // 10 of 512 are all that fit; beyond that the text that says so needs its own place.
    const long = Array.from({ length: 11 }, () => 'z'.repeat(512));
    expect(recorded(long.slice(0, 10))).toEqual(long.slice(0, 10));
    expect(recorded(long)).toEqual([...long.slice(0, 9), '… and 2 more']);
    expect(recorded([])).toEqual([]);
  });

  it('hold a text of a caller cut to its limit, and a malformed trace id as none', () => {
    const bytes = encodeEvent(decision({ path: `/${'x'.repeat(5000)}`, traceId: 'not-a-trace' }));
    expect(decodeEvent(bytes)).toMatchObject({ path: `/${'x'.repeat(MAX_RECORDED_TEXT - 2)}…`, traceId: '' });
  });

  it('hold what a clock has said, made to fit', () => {
    const bytes = encodeEvent(completion('c', { time: 8e15, durationMs: -5 }));
    expect(decodeEvent(bytes)).toMatchObject({ time: 253_402_300_799_999, durationMs: 0 });
    expect(decodeEvent(encodeEvent({ kind: 'heartbeat', time: 1.5 }))).toEqual({ kind: 'heartbeat', time: 1 });
  });

  it.each([
    ['a duration that is no number', completion('c', { durationMs: Number.NaN }), 'durationMs'],
    ['a fractional size', completion('c', { bytesIn: 1.5 }), 'bytesIn'],
    ['a negative size', completion('c', { bytesIn: -1 }), 'bytesIn'],
    ['minus zero', completion('c', { bytesOut: -0 }), 'bytesOut'],
    ['a status of four digits', completion('c', { status: 1000 }), 'status'],
    ['a port beyond 65535', decision({ port: 65_536 }), 'port'],
    ['an empty call', decision({ call: '' }), 'call'],
    ['a source that is not ASCII', decision({ source: 'spiffe://exämple.org/x' }), 'source'],
    ['an unknown reason', decision({ reason: 'because' as never }), 'reason'],
    ['an unknown action', { ...goldenIdentity, action: 'coup' as never }, 'action'],
    ['an unknown outcome', { ...goldenIdentity, outcome: 'perhaps' as never }, 'outcome'],
    ['a list that is a text', { ...goldenIdentity, selectors: 'unix:uid:0' as never }, 'selectors'],
    ['a list with a number in it', { ...goldenIdentity, audience: [7 as never] }, 'audience'],
    // biome-ignore lint/suspicious/noSparseArray: what a hole does is the question.
    ['a list with a hole', { ...goldenIdentity, audience: ['a', , 'b'] as never }, 'audience'],
    ['an administrative action that is not known', { ...goldenAdmin, action: 'coup' as never }, 'action'],
    ['a hash that is none', { ...goldenAdmin, after: 'E3' }, 'after'],
    ['a count below nothing', { ...goldenAdmin, count: -1 }, 'count'],
    ['an end that is no number', { ...goldenIdentity, expiresAt: Number.NaN }, 'expiresAt'],
    ['a missing field', { ...decision(), rule: undefined as never }, 'rule'],
  ])('are refused for %s', async (_, event, field) => {
    await expectAppError(
      () => encodeEvent(event),
      'invalid',
      `Not an audit event: the field ${field} of the ${event.kind} is out of range.`,
    );
  });
});

describe('decoding an event', () => {
  it.each([
    ['another order', goldenBytes.replace('"kind":"decision",', '').replace('}', ',"kind":"decision"}')],
    ['a space', goldenBytes.replace(',', ', ')],
    ['an unknown field', goldenBytes.replace('{', '{"extra":1,')],
    ['a field twice', goldenBytes.replace('"port":8080', '"port":1,"port":8080')],
    ['an escape that is not needed', goldenBytes.replace('GET', 'GET').replace('orders.shop', '\\u006frders.shop')],
    ['a number in another form', goldenBytes.replace('8080', '8.08e3')],
    ['a trailing newline', `${goldenBytes}\n`],
    ['a space in a list', goldenIdentityBytes.replace('shop","k8s', 'shop", "k8s')],
  ])('refuses %s', async (_, text) => {
    await expectAppError(
      () => decodeEvent(Buffer.from(text)),
      'invalid',
      'Not an audit event: it is not in canonical form.',
    );
  });

  it('refuses what is no event, saying why', async () => {
    const because = async (bytes: Buffer, why: string) => {
      await expectAppError(() => decodeEvent(bytes), 'invalid', `Not an audit event: ${why}.`);
    };
    await because(Buffer.from(''), 'it is not JSON');
    await because(Buffer.from('[1]'), 'it is not an object');
    await because(Buffer.from('null'), 'it is not an object');
    await because(Buffer.from('{}'), 'it has no kind');
    await because(Buffer.from('{"kind":"coup"}'), 'its kind is unknown');
    await because(Buffer.from('{"kind":"__proto__"}'), 'its kind is unknown');
    await because(
      Buffer.from('{"kind":"heartbeat","time":253402300800000}'),
      'the field time is missing or out of range',
    );
    await because(Buffer.from('{"kind":"heartbeat"}'), 'the field time is missing or out of range');
    const beyond = (list: string) =>
      Buffer.from(goldenIdentityBytes.replace(/"selectors":\[[^\]]*\]/, `"selectors":${list}`));
    for (const list of [
      '7',
      '{}',
      '[null]',
      '[["a"]]',
      JSON.stringify(Array(65).fill('a')),
      JSON.stringify(['a'.repeat(513)]),
    ])
      await because(beyond(list), 'the field selectors is missing or out of range');
    await because(
      beyond(JSON.stringify(Array(11).fill('a'.repeat(500)))),
      'the field selectors is missing or out of range',
    );
    await because(Buffer.alloc(MAX_EVENT_BYTES + 1, 0x20), `it is longer than ${MAX_EVENT_BYTES} bytes`);
    await because(
      Buffer.from(goldenBytes.replace('orders.shop', 'orders\xff'), 'latin1'),
      'it is not in canonical form',
    );
  });

  it('throws nothing but AppErrors, whatever the bytes', () => {
    const mutated = fc.tuple(eventArbitrary, fc.nat(2000), fc.nat(255)).map(([event, position, byte]) => {
      const bytes = encodeEvent(event);
      bytes[position % bytes.length] = byte;
      return bytes;
    });
    const json = fc.json().map((text) => Buffer.from(text));
    const garbage = fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes));
    fc.assert(
      fc.property(fc.oneof(mutated, json, garbage), (bytes) => {
        try {
          const event = decodeEvent(bytes);
          expect(encodeEvent(event).equals(bytes)).toBe(true);
        } catch (error) {
          expect(error).toBeInstanceOf(AppError);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('a recorded text', () => {
  it('is left as it is up to the limit, and is never cut within a character', () => {
    const recorded = (path: string) => {
      const event = decodeEvent(encodeEvent({ ...golden, path }));
      return event.kind === 'decision' ? event.path : '';
    };
    expect(recorded('x'.repeat(MAX_RECORDED_TEXT))).toHaveLength(MAX_RECORDED_TEXT);
    expect(recorded('x'.repeat(MAX_RECORDED_TEXT + 1))).toBe(`${'x'.repeat(MAX_RECORDED_TEXT - 1)}…`);
    const cut = recorded(`${'x'.repeat(MAX_RECORDED_TEXT - 2)}😀 and more`);
    expect(cut).toBe(`${'x'.repeat(MAX_RECORDED_TEXT - 2)}…`);
    expect(cut.isWellFormed()).toBe(true);
  });
});
