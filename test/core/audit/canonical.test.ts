import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import { decodeEvent, encodeEvent, MAX_EVENT_BYTES } from '../../../src/core/audit/canonical.ts';
import type { AuditEvent } from '../../../src/core/audit/event.ts';
import { MAX_RECORDED_TEXT } from '../../../src/core/audit/event.ts';
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
    reason: fc.constantFrom('spool-lost' as const, 'spool-corrupt' as const),
    epoch: count,
    fromSeq: count,
  }),
);

describe('the canonical bytes of an event', () => {
  it('are those that were once fixed', () => {
    expect(encodeEvent(golden).toString('utf8')).toBe(goldenBytes);
    expect(decodeEvent(Buffer.from(goldenBytes))).toEqual(golden);
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

  it('stay below the limit when every text is as long and as awkward as it can be', () => {
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
