import { toEvent } from '../../../../src/control/ledger/admin-recorder.ts';
import type { SinkItem } from '../../../../src/control/ledger/sinks/item.ts';
import { itemsOf } from '../../../../src/control/ledger/sinks/item.ts';
import type { AdminEvent } from '../../../../src/core/audit/admin-event.ts';
import { adminActions, adminOutcomes } from '../../../../src/core/audit/admin-event.ts';
import type { AuditEvent, IdentityEvent } from '../../../../src/core/audit/event.ts';
import { identityActions, identityOutcomes } from '../../../../src/core/audit/event.ts';
import { decisionReasons } from '../../../../src/core/policy/model.ts';
import { completion, decision } from '../../../support/audit.ts';
import { controlPlane, plain } from './batches.ts';

export const time = Date.UTC(2026, 0, 1);

export function identity(change: Partial<IdentityEvent> = {}): IdentityEvent {
  return {
    ...{
      kind: 'identity',
      time,
      action: 'x509-svid',
      outcome: 'granted',
      entry: 'entry-1',
      instance: '',
      serial: '0a',
    },
    ...{ subject: 'spiffe://example.org/ns/shop/sa/web', actor: 'spiffe://example.org/writ/agent/join/1', method: '' },
    ...{ selectors: ['unix:uid:1'], audience: [], expiresAt: time + 1, reason: '', source: '10.0.0.1:4711' },
    ...change,
  };
}

export function admin(change: Partial<AdminEvent> = {}): AdminEvent {
  return {
    ...toEvent({ action: 'call', outcome: 'done', actor: 'ada', role: 'admin', source: '10.0.0.2' }, time),
    ...{ operation: 'putPolicy', permission: 'policies:write', object: '/v1/policies/shop/orders', request: 'r1' },
    ...change,
  };
}

export function itemOf(event: AuditEvent | Buffer): SinkItem {
  const own = !Buffer.isBuffer(event) && (event.kind === 'admin' || event.kind === 'identity');
  const [item] = itemsOf(plain([event], own ? controlPlane : undefined));
  if (item === undefined) throw new Error('no item');
  return item;
}

/** One of everything that can be recorded. */
export function everything(): readonly SinkItem[] {
  const protocols = ['http', 'grpc', 'tcp'] as const;
  const events: (AuditEvent | Buffer)[] = [
    ...decisionReasons.flatMap((reason) =>
      protocols.map((protocol) => {
        const texts = protocol === 'tcp' ? { method: '', host: '', path: '' } : { method: 'PATCH', path: '/a.B/Do' };
        const allow = reason === 'allow-rule' || reason === 'egress-open';
        return decision({ reason, protocol, decision: allow ? 'allow' : 'deny', ...texts });
      }),
    ),
    decision({ source: '', transport: 'plaintext', certificateSerial: '', rule: 'default-deny', decision: 'deny' }),
    decision({ traceId: 'a'.repeat(32), endUser: 'https://issuer/ada', shadowDecision: 'deny', shadowRule: 'a/b@1#0' }),
    decision({ direction: 'outbound', source: 'spiffe://example.org/ns/shop/sa/orders', destination: 'spiffe://x/y' }),
    decision({ method: 'BREW', auditRule: 'a/b@1#0', port: 0 }),
    completion('call-1'),
    completion('call-2', { status: 0 }),
    completion('call-3', { status: 0, cutReason: 'quarantined', cutRule: 'a/b@1#0', cutRevision: 7 }),
    completion('call-4', { status: 503, durationMs: time * 2 }),
    { kind: 'gap', time, reason: 'spool-lost', epoch: 1, fromSeq: 5 },
    ...identityActions.flatMap((action) => identityOutcomes.map((outcome) => identity({ action, outcome }))),
    identity({
      subject: '',
      actor: '',
      entry: '',
      serial: '',
      source: '',
      outcome: 'refused',
      reason: 'forbidden: no',
    }),
    ...adminActions.flatMap((action) => adminOutcomes.map((outcome) => admin({ action, outcome }))),
    admin({ actor: '', source: '', operation: '', object: '', permission: '', request: '', action: 'sign-in' }),
    admin({ before: 'aa', after: 'bb', detail: '-a\n+b\n', status: 200 }),
    admin({ after: 'bb' }),
    admin({ before: 'aa', operation: 'deletePolicy', lastTime: time + 5, count: 7 }),
    Buffer.from('{"kind":"from-the-future"}'),
    decision({ destination: 'spiffe://example.org/ns/shop/sa/somebody-else' }),
  ];
  return events.map(itemOf);
}
