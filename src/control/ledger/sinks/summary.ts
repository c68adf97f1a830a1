import { unreachable } from '../../../base/errors.ts';
import type { SinkItem } from './item.ts';

/** What formats that know no classes say of an event. */
export interface Summary {
  /** Closed list: `mesh.call.allow`, `mesh.call.deny`, `mesh.call.end` … */
  readonly name: string;
  /** For people. */
  readonly title: string;
  readonly severity: 'info' | 'warning' | 'error';
}

export function summaryOf({ event }: SinkItem): Summary {
  switch (event.kind) {
    case 'decision':
      return event.decision === 'deny'
        ? { name: 'mesh.call.deny', title: 'Call denied', severity: 'warning' }
        : { name: 'mesh.call.allow', title: 'Call allowed', severity: 'info' };
    case 'completion':
      return event.cutReason === undefined
        ? { name: 'mesh.call.end', title: 'Call ended', severity: 'info' }
        : { name: 'mesh.call.cut', title: 'Call cut off', severity: 'warning' };
    case 'identity':
      return event.outcome === 'refused'
        ? { name: 'mesh.identity.refused', title: `Identity: ${event.action} refused`, severity: 'warning' }
        : { name: 'mesh.identity.granted', title: `Identity: ${event.action}`, severity: 'info' };
    case 'admin':
      return {
        name: `mesh.admin.${event.outcome}`,
        title: `Administration: ${event.operation || event.action}`,
        severity: event.outcome === 'refused' || event.outcome === 'failed' ? 'warning' : 'info',
      };
    case 'gap':
      return { name: 'mesh.audit.gap', title: 'Records of a sidecar are missing', severity: 'error' };
    case 'note':
      return { name: `mesh.audit.${event.note}`, title: 'A record that is not believed', severity: 'error' };
    default:
      return unreachable(event);
  }
}
