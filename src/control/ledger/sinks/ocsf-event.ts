import type { SinkItem } from './item.ts';

/** What encoders know besides the event. */
export interface OcsfContext {
  /** Version of Writ. */
  readonly version: string;
  /** Name of the audit log. */
  readonly logOrigin: string;
  readonly trustDomain: string;
  /** Batches that the published checkpoint covers, now. */
  readonly sealedBelow: number;
}

export type OcsfEvent = Readonly<Record<string, unknown>>;

/** Category and number of each class that is used. */
export const ocsfClasses = {
  base: { category: 0, uid: 0 },
  authentication: { category: 3, uid: 3002 },
  entity: { category: 3, uid: 3004 },
  network: { category: 4, uid: 4001 },
  http: { category: 4, uid: 4002 },
  api: { category: 6, uid: 6003 },
} as const;

export const OCSF_VERSION = '1.8.0';

/** Informational, Low, Medium, High. */
type Severity = 1 | 2 | 3 | 4;

/** What every class requires, and where the event stands in the log. */
export function baseOf(
  item: SinkItem,
  context: OcsfContext,
  o: {
    readonly class: keyof typeof ocsfClasses;
    readonly activity: number;
    readonly time: number;
    readonly severity: Severity;
    readonly profiles?: readonly string[];
    /** Of a second object from the same event. */
    readonly part?: string;
    /** What it belongs together with. */
    readonly correlation?: string;
  },
): OcsfEvent {
  const { category, uid } = ocsfClasses[o.class];
  return {
    activity_id: o.activity,
    category_uid: category,
    class_uid: uid,
    type_uid: uid * 100 + o.activity,
    time: o.time,
    severity_id: o.severity,
    metadata: {
      uid: o.part === undefined ? uidOf(item) : `${uidOf(item)}#${o.part}`,
      sequence: item.sequence,
      product: { name: 'Writ', vendor_name: 'Writ', version: context.version },
      version: OCSF_VERSION,
      ...(o.profiles !== undefined && { profiles: o.profiles }),
      logged_time: item.receivedAt,
      original_time: new Date(o.time).toISOString(),
      log_name: context.logOrigin,
      tenant_uid: context.trustDomain,
      ...(o.correlation !== undefined && o.correlation !== '' && { correlation_uid: o.correlation }),
    },
    unmapped: {
      integrity: {
        event_hash: item.eventHash,
        batch_root: item.batchRoot,
        leaf_index: item.leaf,
        event_index: item.position,
        log_origin: context.logOrigin,
        ...(item.leaf < context.sealedBelow && { checkpoint_size: context.sealedBelow }),
      },
      event_id: item.id,
      recorded_by: item.recordedBy,
    },
  };
}

/** With something more under `unmapped`, where OCSF has no place for it. */
export function withUnmapped(event: OcsfEvent, more: Readonly<Record<string, unknown>>): OcsfEvent {
  return { ...event, unmapped: { ...(event.unmapped as object), ...more } };
}

/** The same however often it is exported: what duplicates are found by. */
export function uidOf({ sidecar, epoch, sequence }: SinkItem): string {
  return `${sidecar}/${epoch}/${sequence}`;
}

/** An endpoint must have something that names it. */
export function endpointOf(spiffeId: string, more: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  const service = /\/ns\/[^/]+\/sa\/([^/]+)$/.exec(spiffeId)?.[1];
  if (spiffeId === '') return { name: 'anonymous', ...more };
  return { uid: spiffeId, name: spiffeId, ...(service !== undefined && { svc_name: service }), ...more };
}
