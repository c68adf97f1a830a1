import type { AuditEvent, CompletionEvent, DecisionEvent } from '../../src/core/audit/event.ts';
import type { ShipCaller } from '../../src/core/audit/ship.ts';
import type { IssuedSvid, TestAuthority } from './pki.ts';
import { createTestAuthority } from './pki.ts';

let count = 0;

/** A decision with a call id of its own. */
export function decision(change: Partial<DecisionEvent> = {}): DecisionEvent {
  count += 1;
  return {
    kind: 'decision',
    call: `01890000-0000-7000-8000-${String(count).padStart(12, '0')}`,
    time: Date.UTC(2026, 0, 1) + count,
    source: 'spiffe://example.org/ns/shop/sa/web',
    destination: 'spiffe://example.org/ns/shop/sa/orders',
    protocol: 'http',
    method: 'GET',
    host: 'orders.shop.mesh',
    path: '/orders/1',
    port: 8080,
    decision: 'allow',
    reason: 'allow-rule',
    rule: 'shop/orders@3#0',
    policyRevision: 3,
    traceId: '',
    tokenSubject: '',
    certificateSerial: '0a1b',
    ...change,
  };
}

export function completion(call: string, change: Partial<CompletionEvent> = {}): CompletionEvent {
  return {
    kind: 'completion',
    call,
    time: Date.UTC(2026, 0, 1) + count,
    status: 200,
    durationMs: 3,
    bytesIn: 10,
    bytesOut: 20,
    ...change,
  };
}

export interface ShippingIdentity {
  readonly instanceId: string;
  readonly svid: IssuedSvid;
  readonly caller: ShipCaller;
}

let authority: TestAuthority | undefined;

/** A sidecar's identity, from an authority of the test process. */
export function shippingIdentity(instanceId: string, service = 'orders'): ShippingIdentity {
  authority ??= createTestAuthority();
  const svid = authority.issue(`spiffe://example.org/ns/shop/sa/${service}`, { instanceId });
  const [certificate] = svid.chain;
  if (certificate === undefined) throw new Error('no certificate');
  return { instanceId, svid, caller: { instanceId, spiffeId: svid.id.uri, certificate } };
}

export function callsOf(events: readonly AuditEvent[]): string[] {
  return events.flatMap((event) => (event.kind === 'decision' ? [event.call] : []));
}
