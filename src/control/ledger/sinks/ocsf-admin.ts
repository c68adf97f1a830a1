import { unreachable } from '../../../base/errors.ts';
import type { AdminEvent } from '../../../core/audit/admin-event.ts';
import type { SinkItem } from './item.ts';
import type { OcsfContext, OcsfEvent } from './ocsf-event.ts';
import { baseOf, withUnmapped } from './ocsf-event.ts';
import { addressOf } from './ocsf-identity.ts';

const CREATE = 1;
const READ = 2;
const UPDATE = 3;
const DELETE = 4;
const LOGON = 1;
const OTHER = 99;

/** A call to the API; together with what it changed, once that is known to have been done. */
export function adminToOcsf(item: SinkItem, event: AdminEvent, context: OcsfContext): readonly OcsfEvent[] {
  switch (event.action) {
    case 'sign-in':
      return [signIn(item, event, context)];
    case 'call': {
      const call = apiActivity(item, event, context);
      return event.outcome === 'done' && (event.before !== '' || event.after !== '')
        ? [call, change(item, event, context)]
        : [call];
    }
    case 'task':
    case 'configuration':
    case 'stop':
    case 'sink.failed':
    case 'sink.recovered':
    case 'unrecorded':
      return [apiActivity(item, event, context)];
    default:
      return unreachable(event.action);
  }
}

/** API Activity (6003). */
function apiActivity(item: SinkItem, event: AdminEvent, context: OcsfContext): OcsfEvent {
  const failed = event.outcome === 'refused' || event.outcome === 'failed';
  const base = baseOf(item, context, {
    class: 'api',
    activity: event.action === 'call' ? activityOf(event) : OTHER,
    time: event.time,
    severity: failed || event.action === 'unrecorded' ? 3 : 1,
    correlation: event.request,
  });
  return withUnmapped(
    {
      ...base,
      ...outcomeOf(event),
      ...(event.action !== 'call' && { activity_name: event.action }),
      actor: actorOf(event),
      api: {
        operation: event.operation || event.action,
        service: { name: 'writ control plane' },
        ...(event.request !== '' && { request: { uid: event.request } }),
        ...(event.status > 0 && { response: { code: event.status } }),
      },
      src_endpoint: sourceOf(event),
      ...(event.object !== '' && { resources: [{ name: event.object, type: event.permission || event.action }] }),
      count: event.count,
      ...(event.lastTime > 0 && { start_time: event.time, end_time: event.lastTime }),
    },
    unmappedOf(event),
  );
}

/** Entity Management (3004): what a call changed, with hashes of both texts and the difference. */
function change(item: SinkItem, event: AdminEvent, context: OcsfContext): OcsfEvent {
  const activity = event.before === '' ? CREATE : event.after === '' ? DELETE : UPDATE;
  const base = baseOf(item, context, {
    class: 'entity',
    activity,
    time: event.time,
    severity: 1,
    part: 'entity',
    correlation: event.request,
  });
  const name = event.object || event.operation;
  const entity = (version: string) => ({
    name,
    uid: name,
    type: event.permission.split(':')[0] || 'object',
    ...(event.permission.startsWith('policies:') && {
      policy: { uid: name, name, ...(version !== '' && { version }) },
    }),
  });
  return withUnmapped(
    {
      ...base,
      ...outcomeOf(event),
      actor: actorOf(event),
      src_endpoint: sourceOf(event),
      entity: entity(event.before),
      ...(event.after !== '' && { entity_result: entity(event.after) }),
      comment: event.reason,
    },
    unmappedOf(event),
  );
}

/** Authentication (3002). */
function signIn(item: SinkItem, event: AdminEvent, context: OcsfContext): OcsfEvent {
  const refused = event.outcome !== 'done';
  const name = event.actor || 'unknown';
  const base = baseOf(item, context, {
    class: 'authentication',
    activity: LOGON,
    time: event.time,
    severity: refused ? 3 : 1,
  });
  return withUnmapped(
    {
      ...base,
      ...outcomeOf(event),
      user: { name, ...(event.credential !== '' && { credential_uid: event.credential }) },
      actor: actorOf(event),
      service: { name: 'writ control plane', uid: item.recordedBy },
      src_endpoint: sourceOf(event),
      count: event.count,
      ...(event.lastTime > 0 && { start_time: event.time, end_time: event.lastTime }),
    },
    unmappedOf(event),
  );
}

function activityOf({ operation, permission }: AdminEvent): number {
  if (/^(get|list|search|tail|read|show)/.test(operation) || permission.endsWith(':read')) return READ;
  if (/^delete/.test(operation)) return DELETE;
  if (/^(create|add|import)/.test(operation)) return CREATE;
  return UPDATE;
}

function outcomeOf(event: AdminEvent): OcsfEvent {
  // What has begun is neither a success nor a failure yet.
  const status = event.outcome === 'done' ? 1 : event.outcome === 'begun' ? 99 : 2;
  return {
    status_id: status,
    ...(status === 99 && { status: event.outcome }),
    status_code: event.status > 0 ? String(event.status) : event.outcome,
    ...(event.reason !== '' && { status_detail: event.reason }),
  };
}

function actorOf({ actor, role, credential }: AdminEvent): OcsfEvent {
  const name = actor || 'unknown';
  return {
    user: {
      name,
      ...(role !== '' && { groups: [{ name: role, type: 'role' }] }),
      ...(credential !== '' && { credential_uid: credential }),
    },
  };
}

function sourceOf({ source }: AdminEvent): OcsfEvent {
  return source === '' ? { name: 'control-plane', svc_name: 'writ' } : { ip: addressOf(source), name: source };
}

function unmappedOf(event: AdminEvent): Readonly<Record<string, unknown>> {
  const { action, outcome, permission, query, before, after, detail } = event;
  return { action, outcome, permission, query, before, after, detail };
}
