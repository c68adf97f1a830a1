import { unreachable } from '../../../base/errors.ts';
import type { SinkItem } from './item.ts';
import { adminToOcsf } from './ocsf-admin.ts';
import { callToOcsf, completionToOcsf } from './ocsf-call.ts';
import type { OcsfContext, OcsfEvent } from './ocsf-event.ts';
import { baseOf } from './ocsf-event.ts';
import { identityToOcsf } from './ocsf-identity.ts';

/**
 * An event in the Open Cybersecurity Schema Framework, version 1.8.0: one object, or two for a change that an administrator
 * made (the call to the API, and what it changed).
 *
 * Calls are HTTP Activity (4002) or Network Activity (4001), identities Authentication (3002), what is done to entries, keys and
 * policies Entity Management (3004), calls to the API of the control plane API Activity (6003). Holes in the record and what is
 * not believed have no class of their own, and are Base Events (0).
 */
export function toOcsf(item: SinkItem, context: OcsfContext): readonly OcsfEvent[] {
  const { event } = item;
  switch (event.kind) {
    case 'decision':
      return [callToOcsf(item, event, context)];
    case 'completion':
      return [completionToOcsf(item, event, context)];
    case 'identity':
      return [identityToOcsf(item, event, context)];
    case 'admin':
      return adminToOcsf(item, event, context);
    case 'gap':
      return [
        {
          ...baseOf(item, context, { class: 'base', activity: 99, time: event.time, severity: 4 }),
          message: `Records of a sidecar are missing (${event.reason}), from sequence ${event.fromSeq} of epoch ${event.epoch} on.`,
          status_id: 2,
          status_code: event.reason,
        },
      ];
    case 'note':
      return [
        {
          ...baseOf(item, context, { class: 'base', activity: 99, time: event.time, severity: 4 }),
          message: event.detail,
          status_id: 2,
          status_code: event.note,
        },
      ];
    default:
      return unreachable(event);
  }
}
