import { describe, expect, it } from 'vitest';
import { toOcsf } from '../../../../src/control/ledger/sinks/ocsf.ts';
import type { OcsfContext, OcsfEvent } from '../../../../src/control/ledger/sinks/ocsf-event.ts';
import { completion, decision } from '../../../support/audit.ts';
import { admin, everything, identity, itemOf, time } from './events.ts';

const context: OcsfContext = {
  version: '1.2.3',
  logOrigin: 'example.org/writ/audit',
  trustDomain: 'example.org',
  sealedBelow: 0,
};
type Tree = { readonly [key: string]: Tree } & unknown;
const encode = (event: Parameters<typeof itemOf>[0]) => toOcsf(itemOf(event), context);
const first = (event: Parameters<typeof itemOf>[0]) => encode(event)[0] as OcsfEvent;

/** What OCSF 1.8.0 requires of each class that is used, with the activities that it knows. 0 and 99 are in all. */
const classes: Readonly<
  Record<number, { category: number; requires: string[]; oneOf: string[][]; activities: number[] }>
> = {
  0: { category: 0, requires: [], oneOf: [], activities: [] },
  3002: { category: 3, requires: ['user'], oneOf: [['service', 'dst_endpoint']], activities: [1, 2, 3, 4, 5, 6, 7] },
  3004: { category: 3, requires: ['entity'], oneOf: [], activities: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13] },
  4001: { category: 4, requires: [], oneOf: [['src_endpoint', 'dst_endpoint']], activities: [1, 2, 3, 4, 5, 6, 7] },
  4002: {
    category: 4,
    requires: [],
    oneOf: [
      ['http_request', 'http_response'],
      ['src_endpoint', 'dst_endpoint'],
    ],
    activities: [1, 2, 3, 4, 5, 6, 7, 8, 9],
  },
  6003: { category: 6, requires: ['actor', 'api', 'src_endpoint'], oneOf: [], activities: [1, 2, 3, 4] },
};

/** What it requires of objects, wherever they stand: all of these, and one of those. */
const objects: Readonly<Record<string, { requires?: string[]; oneOf?: string[] }>> = {
  metadata: { requires: ['product', 'version'] },
  product: { requires: ['vendor_name'], oneOf: ['name', 'uid'] },
  actor: { oneOf: ['process', 'user', 'invoked_by', 'session', 'app_name', 'app_uid'] },
  user: { oneOf: ['account', 'name', 'uid'] },
  api: { requires: ['operation'] },
  request: { requires: ['uid'] },
  src_endpoint: { oneOf: ['ip', 'uid', 'name', 'hostname', 'svc_name', 'instance_uid'] },
  dst_endpoint: { oneOf: ['ip', 'uid', 'name', 'hostname', 'svc_name', 'instance_uid'] },
  service: { oneOf: ['name', 'uid'] },
  entity: { oneOf: ['name', 'uid', 'device', 'group', 'org', 'policy', 'user'] },
  entity_result: { oneOf: ['name', 'uid', 'device', 'group', 'org', 'policy', 'user'] },
  policy: { oneOf: ['name', 'uid'] },
  firewall_rule: { oneOf: ['name', 'uid'] },
  tls: { requires: ['version'] },
  certificate: { requires: ['serial_number', 'issuer'] },
  trace: { requires: ['uid'] },
  span: { requires: ['uid', 'start_time', 'end_time'] },
  connection_info: { requires: ['direction_id'] },
  http_response: { requires: ['code'] },
};

function problemsOf(event: OcsfEvent): readonly string[] {
  const problems: string[] = [];
  const has = (at: object, name: string) => Reflect.get(at, name) !== undefined && Reflect.get(at, name) !== '';
  const walk = (value: unknown, name: string) => {
    if (typeof value !== 'object' || value === null || name === 'unmapped') return;
    if (Array.isArray(value)) {
      for (const item of value) walk(item, name);
      return;
    }
    const { requires = [], oneOf } = objects[name] ?? {};
    for (const key of requires) if (!has(value, key)) problems.push(`${name} needs ${key}`);
    if (oneOf !== undefined && !oneOf.some((key) => has(value, key))) problems.push(`${name} is empty`);
    for (const [key, inner] of Object.entries(value)) walk(inner, key);
  };
  walk(event, 'event');
  const all = ['activity_id', 'category_uid', 'class_uid', 'type_uid', 'time', 'severity_id', 'metadata'];
  const about = classes[Number(event.class_uid)];
  if (about === undefined) return [...problems, `class ${event.class_uid}`];
  for (const key of [...all, ...about.requires]) if (!has(event, key)) problems.push(`needs ${key}`);
  for (const some of about.oneOf)
    if (!some.some((key) => has(event, key))) problems.push(`needs one of ${some.join()}`);
  if (event.category_uid !== about.category) problems.push('category');
  if (event.type_uid !== Number(event.class_uid) * 100 + Number(event.activity_id)) problems.push('type');
  if (![0, 99, ...about.activities].includes(Number(event.activity_id))) problems.push('activity');
  if (event.status_id === 99 && !has(event, 'status')) problems.push('status');
  for (const key of ['time', 'start_time', 'end_time', 'duration', 'count']) {
    if (event[key] !== undefined && !Number.isSafeInteger(event[key])) problems.push(key);
  }
  return problems;
}

describe('OCSF 1.8.0', () => {
  it('has what the schema requires, for one of everything that can be recorded', () => {
    const events = everything().flatMap((item) => toOcsf(item, context));
    expect(events.length).toBeGreaterThan(100);
    expect(events.flatMap((event) => problemsOf(JSON.parse(JSON.stringify(event))))).toEqual([]);
  });

  it('an allowed call over HTTP is HTTP Activity: Allowed, with its rule, both identities and the place in the log', () => {
    const event = decision({ traceId: 'ab'.repeat(16), method: 'POST', endUser: 'https://issuer/ada' });
    const item = itemOf(event);
    expect(toOcsf(item, context)).toEqual([
      {
        activity_id: 6,
        category_uid: 4,
        class_uid: 4002,
        type_uid: 400206,
        time: event.time,
        severity_id: 1,
        status_id: 1,
        status_detail: 'allow-rule',
        action_id: 1,
        action: 'Allowed',
        disposition_id: 1,
        is_alert: false,
        policy: { uid: 'shop/orders', name: 'orders', version: '3', is_applied: true },
        authorizations: [{ decision: 'allow', policy: { uid: 'shop/orders/0', version: '3' } }],
        firewall_rule: { uid: 'shop/orders@3#0', name: 'orders', version: '3' },
        src_endpoint: { uid: event.source, name: event.source, svc_name: 'web' },
        dst_endpoint: {
          ...{ uid: event.destination, name: event.destination, svc_name: 'orders' },
          ...{ port: 8080, instance_uid: 'sidecar-1' },
        },
        actor: { app_uid: event.source, user: { uid: 'https://issuer/ada', name: 'https://issuer/ada' } },
        connection_info: { direction_id: 1, protocol_name: 'tcp', uid: event.call },
        tls: {
          version: '1.3',
          certificate: { serial_number: '0a1b', issuer: 'spiffe://example.org' },
          sans: [{ type: 'URI', name: event.source }],
        },
        http_request: {
          uid: event.call,
          http_method: 'POST',
          url: { hostname: 'orders.shop.mesh', path: '/orders/1' },
        },
        app_protocol_name: 'http',
        trace: { uid: 'ab'.repeat(16) },
        metadata: {
          uid: 'sidecar-1/1/1',
          sequence: 1,
          product: { name: 'Writ', vendor_name: 'Writ', version: '1.2.3' },
          version: '1.8.0',
          profiles: ['security_control', 'trace'],
          logged_time: item.receivedAt,
          original_time: new Date(event.time).toISOString(),
          log_name: 'example.org/writ/audit',
          tenant_uid: 'example.org',
          correlation_uid: 'ab'.repeat(16),
        },
        unmapped: {
          integrity: {
            event_hash: item.eventHash,
            batch_root: item.batchRoot,
            leaf_index: 0,
            event_index: 0,
            log_origin: 'example.org/writ/audit',
          },
          event_id: 'sidecar-1.1.1',
          recorded_by: event.destination,
          policy_revision: 3,
        },
      },
    ]);
  });

  it.each([
    ['GET', 3],
    ['DELETE', 2],
    ['PUT', 7],
    ['PATCH', 9],
    ['HEAD', 4],
    ['OPTIONS', 5],
    ['CONNECT', 1],
    ['BREW', 99],
  ])('the activity of %s is %d, and that of gRPC is Post', (method, activity) => {
    expect(first(decision({ method })).activity_id).toBe(activity);
    expect(first(decision({ method, protocol: 'grpc' })).activity_id).toBe(6);
  });

  it('a denied call is Denied, Blocked, an alert of severity Medium; Unauthorized where the identity failed', () => {
    const deny = { decision: 'deny', rule: 'default-deny' } as const;
    const denied = first(decision({ ...deny, reason: 'default-deny' }));
    expect(denied).toMatchObject({ severity_id: 3, status_id: 2, status_code: '403', status_detail: 'default-deny' });
    expect(denied).toMatchObject({ action_id: 2, disposition_id: 2, is_alert: true, policy: { uid: 'default-deny' } });
    expect(first(decision({ ...deny, reason: 'token-refused' }))).toMatchObject({ action_id: 2, disposition_id: 26 });
  });

  it('a call over TCP is Network Activity: Open, or Refuse', () => {
    const tcp = { protocol: 'tcp', method: '', host: '', path: '' } as const;
    expect(first(decision(tcp))).toMatchObject({ class_uid: 4001, type_uid: 400101 });
    expect(first(decision({ ...tcp, decision: 'deny' }))).toMatchObject({ class_uid: 4001, type_uid: 400105 });
  });

  it('what a shadow policy would have done is Observed and Logged', () => {
    const event = first(decision({ shadowDecision: 'deny', shadowRule: 'a/b@1#0' }));
    expect(event).toMatchObject({
      action_id: 1,
      unmapped: { shadow: { action_id: 3, disposition_id: 17, decision: 'deny' } },
    });
  });

  it('the end of a call has the same http_request.uid, with status, bytes and duration', () => {
    expect(first(completion('call-7', { status: 404 }))).toMatchObject({
      ...{ class_uid: 4002, status_id: 2, status_code: '404', duration: 3 },
      ...{ http_request: { uid: 'call-7' }, http_response: { code: 404 }, traffic: { bytes_in: 10, bytes_out: 20 } },
    });
    const cut = first(completion('c', { status: 0, cutReason: 'quarantined', cutRule: 'a/b@1#0', cutRevision: 2 }));
    expect(cut).toMatchObject({
      type_uid: 400103,
      is_alert: true,
      status_detail: 'quarantined',
      policy: { uid: 'a/b' },
    });
  });

  it('identities are Authentication, what is done to entries and keys is Entity Management', () => {
    expect(first(identity())).toMatchObject({
      ...{ type_uid: 300203, user: { uid: 'spiffe://example.org/ns/shop/sa/web' }, auth_protocol: 'mTLS/SPIFFE' },
      ...{ status_id: 1, certificate: { serial_number: '0a' }, src_endpoint: { ip: '10.0.0.1' } },
    });
    expect(first(identity({ outcome: 'refused' }))).toMatchObject({ status_id: 2, severity_id: 3, disposition_id: 26 });
    expect(first(identity({ action: 'entry.create' }))).toMatchObject({ type_uid: 300401, entity: { uid: 'entry-1' } });
    expect(first(identity({ action: 'quarantine.put' }))).toMatchObject({ type_uid: 300409, severity_id: 3 });
  });

  it('an administrative change is API Activity and Entity Management, told apart by their uid', () => {
    const events = encode(admin({ before: 'aa', after: 'bb', detail: 'diff', reason: '', status: 200 }));
    expect(events).toMatchObject([
      { type_uid: 600303, actor: { user: { name: 'ada' } }, api: { operation: 'putPolicy', response: { code: 200 } } },
      { type_uid: 300403, entity: { policy: { version: 'aa' } }, entity_result: { policy: { version: 'bb' } } },
    ]);
    const uids = events.map(({ metadata }) => (metadata as Tree).uid);
    expect(uids).toEqual(['sidecar-1/1/1', 'sidecar-1/1/1#entity']);
    expect(encode(admin({ outcome: 'begun', after: 'bb' }))).toMatchObject([{ class_uid: 6003, status_id: 99 }]);
    expect(encode(admin({ operation: 'listEvents', permission: 'calls:read' }))).toMatchObject([{ activity_id: 2 }]);
  });

  it('holes and what is not believed are Base Events of severity High', () => {
    const gap = first({ kind: 'gap', time, reason: 'spool-lost', epoch: 1, fromSeq: 5 });
    expect(gap).toMatchObject({ type_uid: 99, severity_id: 4, status_code: 'spool-lost' });
    expect(first(Buffer.from('{"kind":"new"}'))).toMatchObject({
      class_uid: 0,
      severity_id: 4,
      status_code: 'unreadable',
    });
  });

  it('the size of a checkpoint is told only when it covers the event', () => {
    const [event] = toOcsf(itemOf(decision()), { ...context, sealedBelow: 9 });
    expect(event).toMatchObject({ unmapped: { integrity: { leaf_index: 0, checkpoint_size: 9 } } });
  });
});
