import { describe, expect, it } from 'vitest';
import type { AuditRecord } from '../../../src/core/audit/event.ts';
import type { AuditQuery } from '../../../src/core/audit/query.ts';
import { matches, textFilter } from '../../../src/core/audit/query.ts';

const record: AuditRecord = {
  id: 'sidecar-1.1.1',
  time: '2026-01-01T00:00:00.000Z',
  source: 'spiffe://example.org/ns/shop/sa/web',
  destination: 'spiffe://example.org/ns/shop/sa/orders',
  operation: { protocol: 'http', method: 'GET', host: 'orders', path: '/orders/1', port: 8080 },
  decision: 'allow',
  reason: 'allow-rule',
  rule: 'shop/orders@3#0',
  policyRevision: 3,
  status: null,
  durationMs: null,
  traceId: '0'.repeat(32),
  tokenSubject: '',
  certificateSerial: '0a',
  sidecar: 'sidecar-1',
  epoch: 1,
  sequence: 1,
  proof: { state: 'sealed', leaf: 0 },
};
const time = Date.parse(record.time);

describe('a live query', () => {
  it.each<[string, AuditQuery, boolean]>([
    ['nothing', {}, true],
    ['its source', { source: record.source }, true],
    ['another source', { source: `${record.source}2` }, false],
    ['its destination', { destination: record.destination }, true],
    ['another destination', { destination: record.source }, false],
    ['its decision', { decision: 'allow' }, true],
    ['the other decision', { decision: 'deny' }, false],
    ['its rule', { rule: record.rule }, true],
    ['another rule', { rule: 'default-deny' }, false],
    ['its trace', { trace: record.traceId }, true],
    ['another trace', { trace: '1'.repeat(32) }, false],
    ['its path', { path: '/orders/1' }, true],
    ['a longer path', { path: '/orders/12' }, false],
    ['a prefix of its path', { path: '/orders/*' }, true],
    ['every path', { path: '*' }, true],
    ['another prefix', { path: '/payments*' }, false],
    ['a star that is not at the end', { path: '/*/1' }, false],
    ['its own time', { since: time, until: time + 1 }, true],
    ['what was before it', { until: time }, false],
    ['what came after it', { since: time + 1 }, false],
    ['two things of which one is wrong', { source: record.source, decision: 'deny' }, false],
  ])('for %s', (_, query, expected) => {
    expect(matches(record, query)).toBe(expected);
  });
});

describe('a path filter', () => {
  it('is a prefix when it ends in a star, and exact otherwise', () => {
    expect(textFilter('/a*')).toEqual({ kind: 'prefix', value: '/a' });
    expect(textFilter('/a**')).toEqual({ kind: 'prefix', value: '/a*' });
    expect(textFilter('/*a')).toEqual({ kind: 'exact', value: '/*a' });
  });
});
