import type { SinkItem } from './item.ts';
import { uidOf } from './ocsf-event.ts';
import { summaryOf } from './summary.ts';

/** RFC 5424 §6.2.1: 13 is "log audit". */
const FACILITY = 13;
const severities = { info: 6, warning: 4, error: 3 } as const;
const BOM = '\ufeff';

/**
 * A message of RFC 5424 around `text`, with what a receiver routes by as structured data. The number in the SD-ID is the one that RFC 5612
 * sets apart for documentation: Writ has none of its own.
 *
 * @param host of the control plane
 */
export function toSyslog(item: SinkItem, text: string, host: string): string {
  const { name, severity } = summaryOf(item);
  const { event } = item;
  const data: Record<string, string> = {
    uid: uidOf(item),
    leaf: String(item.leaf),
    hash: item.eventHash,
    ...(event.kind === 'decision' && {
      source: event.source,
      destination: event.destination,
      decision: event.decision,
    }),
    ...(event.kind === 'admin' && { actor: event.actor, outcome: event.outcome }),
    ...(event.kind === 'identity' && { subject: event.subject, outcome: event.outcome }),
  };
  const params = Object.entries(data).map(([key, value]) => ` ${key}="${escapeParam(value)}"`);
  const priority = FACILITY * 8 + severities[severity];
  const time = new Date(event.time).toISOString();
  return `<${priority}>1 ${time} ${headerText(host, 255)} writ - ${headerText(name, 32)} [writ@32473${params.join('')}] ${BOM}${text}`;
}

/** RFC 5424 §6.3.3: `"`, `\` and `]` are escaped. Ends of lines are allowed; many receivers break at them. */
export function escapeParam(value: string): string {
  return value.replaceAll(/["\\\]]/g, '\\$&').replaceAll(/[\0\r\n]/g, ' ');
}

/** PRINTUSASCII, or `-` for nothing. */
function headerText(text: string, maxLength: number): string {
  return text.replaceAll(/[^!-~]/g, '').slice(0, maxLength) || '-';
}
