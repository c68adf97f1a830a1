import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseSpiffeId } from '../../../src/core/identity/spiffe-id.ts';
import type { Asked } from '../../../src/node/sidecar/checks/check-request.ts';
import { readCheckResponse } from '../../../src/node/sidecar/checks/check-response.ts';
import { changedQuery } from '../../../src/node/sidecar/checks/query.ts';
import { bothChanges, changedFields } from '../../../src/node/sidecar/checks/request-changes.ts';
import { isProtectedField, trailerFields } from '../../../src/node/sidecar/http1-head.ts';
import { problemBody } from '../../../src/node/sidecar/problem.ts';
import { authorizationService } from '../../../src/wire/external-authorization.ts';
import { ORDERS, WEB } from './mesh.ts';

/** The answer of an authorizer is bytes from the network: whatever they are, they make no request or answer that is none. */

const asked = {
  call: {
    peer: { id: parseSpiffeId(WEB) },
    protocol: 'http',
    fields: ['Host', 'orders.shop.mesh', 'X-There', '1', 'Authorization', 'Bearer x'],
  },
  target: '/a?b=1',
  destination: ORDERS,
  changes: undefined,
} as unknown as Asked;

const name = fc.oneof(
  fc.constantFrom(
    'x-there',
    'X-New',
    'host',
    'Host',
    ':path',
    'content-length',
    'transfer-encoding',
    'connection',
    'x-forwarded-client-cert',
    'x_forwarded_client_cert',
    'x-writ-rule',
    'traceparent',
    'authorization',
    'a b',
    '',
  ),
  fc.string(),
);
const value = fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('a\r\nb: c', 'a\0', '\u00ff', '\ud800'));
const options = fc.array(
  fc.record({
    header: fc.option(fc.record({ key: name, value, rawValue: fc.constantFrom(Buffer.alloc(0), Buffer.from('a\nb')) })),
    append: fc.option(fc.record({ value: fc.boolean() })),
    appendAction: fc.constantFrom(
      'APPEND_IF_EXISTS_OR_ADD',
      'ADD_IF_ABSENT',
      'OVERWRITE_IF_EXISTS_OR_ADD',
      'OVERWRITE_IF_EXISTS',
    ),
    keepEmptyValue: fc.boolean(),
  }),
  { maxLength: 6 },
);
const response = fc.record(
  {
    status: fc.record({ code: fc.constantFrom(0, 7), message: fc.string() }),
    okResponse: fc.record({
      headers: options,
      headersToRemove: fc.array(name, { maxLength: 4 }),
      responseHeadersToAdd: options,
      queryParametersToSet: fc.array(fc.record({ key: fc.string({ unit: 'binary' }), value }), { maxLength: 3 }),
      queryParametersToRemove: fc.array(fc.string(), { maxLength: 3 }),
    }),
  },
  { requiredKeys: [] },
);
const refusal = fc.record({
  status: fc.constant({ code: 7 }),
  deniedResponse: fc.record({ headers: options, body: value }),
});

function read(bytes: Buffer): void {
  const decoded = authorizationService.Check.responseDeserialize(bytes);
  const verdict = readCheckResponse(decoded, asked);
  if (verdict === undefined) return;
  if (!verdict.ok) {
    const headers = Object.entries(verdict.answer?.headers ?? {});
    for (const [key, values] of headers) for (const each of [values].flat()) expectField(key, each);
    expect(verdict.answer?.status).toBeGreaterThanOrEqual(200);
    expect(() => problemBody({ code: 'forbidden', detail: '', status: 403, ...verdict.answer })).not.toThrow();
    return;
  }
  expect(verdict.target).toMatch(/^\/a(?:\?[\x21-\x7e]*)?$/);
  for (const { remove, set, append } of [verdict.changes, verdict.answer].flatMap((changes) => changes ?? [])) {
    for (const [key, each] of [...set, ...append]) expectField(key, each);
    for (const key of remove) expect(isProtectedField(key)).toBe(false);
  }
  const fields = changedFields(asked.call.fields, verdict.changes);
  expect(fields.filter((_, i) => i % 2 === 0 && fields[i]?.toLowerCase() === 'host')).toHaveLength(1);
}

function expectField(key: string, text: string): void {
  expect(key).toMatch(/^[a-z0-9!#$%&'*+.^_`|~-]+$/);
  expect(isProtectedField(key)).toBe(false);
  // Nothing that ends a line, and nothing beyond an octet.
  expect([...text].every((char) => char >= ' ' || char === '\t')).toBe(true);
  expect(/[^\0-\xff]|\x7f/.test(text)).toBe(false);
}

const encode = (message: object) => authorizationService.Check.responseSerialize(message as never);

test('an answer changes nothing that only the sidecar may, and holds no field that is none', () => {
  fc.assert(
    fc.property(fc.oneof(response, refusal), (message) => read(encode(JSON.parse(JSON.stringify(message), revive)))),
    { numRuns: 2_000, seed: 3 },
  );
});

function revive(_key: string, each: unknown): unknown {
  const buffer = each as { readonly type?: string; readonly data?: number[] } | null;
  return buffer?.type === 'Buffer' ? Buffer.from(buffer.data ?? []) : each;
}

test('bytes that are damaged are refused by the decoder, or read like any other', () => {
  const valid = encode({
    status: { code: 0 },
    okResponse: { headers: [{ header: { key: 'x-user', value: 'ada' } }], headersToRemove: ['x-there'] },
  });
  fc.assert(
    fc.property(fc.nat({ max: valid.length - 1 }), fc.nat({ max: 255 }), (at, byte) => {
      const damaged = Buffer.from(valid);
      damaged[at] = byte;
      try {
        authorizationService.Check.responseDeserialize(damaged);
      } catch {
        return;
      }
      read(damaged);
    }),
    { numRuns: 2_000, seed: 3 },
  );
});

test('a query parameter goes however its name is spelled, and what stays is left as it was written', () => {
  expect(changedQuery('/a?token=1&b=%2F&%74oken=2&to+ken=3', { remove: ['token', 'to ken'] })).toBe('/a?b=%2F');
  expect(changedQuery('/a?x=1', { set: [['x', 'a b&c=d']] })).toBe('/a?x=a%20b%26c%3Dd');
  expect(changedQuery('/a?token', { remove: ['token'] })).toBe('/a');
  expect(changedQuery('/a?%zz=1&b', { remove: ['%zz'] })).toBe('/a?b');
  expect(changedQuery('/a', { set: [['b', '']] })).toBe('/a?b=');
});

test('changes come one after the other: what the second removes or sets is not what the first had', () => {
  const both = bothChanges(
    { remove: ['a'], set: [['b', '1']], append: [['c', '1']] },
    { remove: ['b'], set: [['c', '2']], append: [['a', '3']] },
  );
  expect(changedFields(['A', '0', 'B', '0', 'C', '0', 'D', '0'], both)).toEqual(['D', '0', 'c', '2', 'a', '3']);
});

test('what an authorizer sets or takes away does not come behind the body either', () => {
  const answer = {
    status: { code: 0 },
    okResponse: { headers: [{ header: { key: 'X-User', value: 'ada' } }], headersToRemove: ['x-there'] },
  };
  const verdict = readCheckResponse(authorizationService.Check.responseDeserialize(encode(answer)), asked);
  const changes = verdict?.ok === true ? verdict.changes : undefined;
  const both = bothChanges({ remove: [], set: [], append: [], withheld: new Set(['x-team']) }, changes);
  const trailers = ['x_user', 'root', 'X-There', '2', 'x-team', 'blue', 'x-sum', '1'];
  expect(trailerFields(trailers, both?.withheld)).toEqual([['x-sum', '1']]);
});
