import type { IdentityEvent } from '../../../core/audit/event.ts';
import type { SinkItem } from './item.ts';
import type { OcsfContext, OcsfEvent } from './ocsf-event.ts';
import { baseOf, endpointOf, withUnmapped } from './ocsf-event.ts';

/** What is done with identities: those that are given are Authentication, the rest is Entity Management. */
const ofEntities: ReadonlyMap<IdentityEvent['action'], { readonly activity: number; readonly type: string }> = new Map([
  ['node.ban', { activity: 9, type: 'node' }],
  ['node.unban', { activity: 8, type: 'node' }],
  ['node.evict', { activity: 4, type: 'node' }],
  ['authority.prepare', { activity: 1, type: 'authority' }],
  ['authority.activate', { activity: 10, type: 'authority' }],
  ['authority.taint', { activity: 9, type: 'authority' }],
  ['authority.revoke', { activity: 4, type: 'authority' }],
  ['authority.retire', { activity: 9, type: 'authority' }],
  ['federation.put', { activity: 3, type: 'federation' }],
  ['federation.delete', { activity: 4, type: 'federation' }],
  ['entry.create', { activity: 1, type: 'entry' }],
  ['entry.update', { activity: 3, type: 'entry' }],
  ['entry.delete', { activity: 4, type: 'entry' }],
  ['quarantine.put', { activity: 9, type: 'identity' }],
  ['quarantine.release', { activity: 8, type: 'identity' }],
]);
const TICKET = 3;

export function identityToOcsf(item: SinkItem, event: IdentityEvent, context: OcsfContext): OcsfEvent {
  const refused = event.outcome === 'refused';
  const entity = ofEntities.get(event.action);
  const base = baseOf(item, context, {
    class: entity === undefined ? 'authentication' : 'entity',
    activity: entity?.activity ?? TICKET,
    time: event.time,
    severity: refused || event.action.startsWith('quarantine.') ? 3 : 1,
    profiles: ['security_control'],
  });
  const subject = event.subject || event.entry || event.serial || 'unknown';
  const outcome = {
    status_id: refused ? 2 : 1,
    status_code: event.outcome,
    ...(event.reason !== '' && { status_detail: event.reason }),
    action_id: refused ? 2 : 1,
    disposition_id: refused ? 26 : 1,
    is_alert: refused,
    // No actor without something that names it.
    actor: { app_uid: event.actor || 'unknown' },
    src_endpoint: sourceOf(event),
  };
  const unmapped = {
    action: event.action,
    entry: event.entry,
    instance: event.instance,
    method: event.method,
    selectors: event.selectors,
    audience: event.audience,
    serial: event.serial,
    ...(event.expiresAt > 0 && { expires_at: event.expiresAt }),
  };
  if (entity !== undefined) {
    const named = { type: entity.type, uid: event.entry || event.serial || subject, name: subject };
    return withUnmapped({ ...base, ...outcome, entity: named, comment: event.reason }, unmapped);
  }
  return withUnmapped(
    {
      ...base,
      ...outcome,
      activity_name: 'Authentication Ticket',
      user: { uid: subject, name: subject },
      service: { name: 'writ control plane', uid: item.recordedBy },
      auth_protocol_id: 99,
      auth_protocol: 'mTLS/SPIFFE',
      ...(event.action.startsWith('x509') &&
        event.serial !== '' && {
          certificate: { serial_number: event.serial, issuer: `spiffe://${context.trustDomain}` },
        }),
    },
    unmapped,
  );
}

function sourceOf({ source, actor }: IdentityEvent): OcsfEvent {
  return source === '' ? endpointOf(actor || 'control-plane') : { ip: addressOf(source), name: source };
}

/** Without the port. */
export function addressOf(source: string): string {
  return /^\[([^\]]+)\]/.exec(source)?.[1] ?? /^([0-9.]+):\d+$/.exec(source)?.[1] ?? source;
}
