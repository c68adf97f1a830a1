import { unreachable } from '../../../base/errors.ts';
import type { SinkItem } from './item.ts';
import { uidOf } from './ocsf-event.ts';
import { addressOf } from './ocsf-identity.ts';
import { summaryOf } from './summary.ts';

const severities = { info: 3, warning: 6, error: 8 } as const;

/** Common Event Format, version 0: one line. Everything that a caller chose is escaped, so that it can begin no field and no line. */
export function toCef(item: SinkItem, { version }: { readonly version: string }): string {
  const { name, title, severity } = summaryOf(item);
  const header = ['CEF:0', 'Writ', 'Writ', version, name, title].map((text, i) =>
    i === 0 ? text : escapeHeader(text),
  );
  const fields = { rt: String(item.event.time), externalId: uidOf(item), ...extensionOf(item) };
  const extension = Object.entries(fields)
    .filter(([, value]) => value !== '')
    .map(([key, value]) => `${key}=${escapeExtension(value)}`)
    .join(' ');
  return `${header.join('|')}|${severities[severity]}|${extension}`;
}

/** `|` and `\` are escaped; a header has no lines. */
export function escapeHeader(text: string): string {
  return text.replaceAll(/[\\|]/g, '\\$&').replaceAll(/[\r\n]+/g, ' ');
}

/** `=` and `\` are escaped, and ends of lines are written `\n` and `\r`. */
export function escapeExtension(text: string): string {
  return text.replaceAll(/[\\=]/g, '\\$&').replaceAll('\n', '\\n').replaceAll('\r', '\\r');
}

function extensionOf({ event }: SinkItem): Readonly<Record<string, string>> {
  switch (event.kind) {
    case 'decision':
      return {
        suser: event.source,
        duser: event.destination,
        dpt: String(event.port),
        app: event.protocol,
        requestMethod: event.method,
        dhost: event.host,
        request: event.path,
        act: event.decision,
        outcome: event.decision === 'allow' ? 'success' : 'failure',
        reason: event.reason,
        ...custom(['rule', event.rule], ['policyRevision', String(event.policyRevision)], ['traceId', event.traceId]),
        ...(event.direction === 'outbound' && { deviceDirection: '1' }),
        cs4Label: 'call',
        cs4: event.call,
        ...((event.endUser ?? event.tokenSubject) !== '' && {
          cs5Label: 'endUser',
          cs5: event.endUser ?? event.tokenSubject,
        }),
      };
    case 'completion':
      return {
        outcome: event.cutReason === undefined && event.status < 400 ? 'success' : 'failure',
        in: String(event.bytesIn),
        out: String(event.bytesOut),
        cn1Label: 'status',
        cn1: String(event.status),
        cn2Label: 'durationMs',
        cn2: String(event.durationMs),
        ...custom(['rule', event.cutRule ?? '']),
        reason: event.cutReason ?? '',
        cs4Label: 'call',
        cs4: event.call,
      };
    case 'identity':
      return {
        suser: event.actor,
        duser: event.subject,
        act: event.action,
        outcome: event.outcome === 'granted' ? 'success' : 'failure',
        reason: event.reason,
        ...addressFields(event.source),
        ...custom(['entry', event.entry], ['serial', event.serial], ['method', event.method]),
      };
    case 'admin':
      return {
        suser: event.actor,
        act: event.operation || event.action,
        outcome: event.outcome,
        reason: event.reason,
        request: event.object,
        cnt: String(event.count),
        ...addressFields(event.source),
        ...custom(['permission', event.permission], ['before', event.before], ['after', event.after]),
        cs4Label: 'request',
        cs4: event.request,
      };
    case 'gap':
      return {
        reason: event.reason,
        cn1Label: 'epoch',
        cn1: String(event.epoch),
        cn2Label: 'fromSeq',
        cn2: String(event.fromSeq),
      };
    case 'note':
      return { reason: event.note, msg: event.detail };
    default:
      return unreachable(event);
  }
}

/** `cs1` … with their labels; what is empty is left out with its label. */
function custom(...fields: readonly (readonly [string, string])[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    fields.flatMap(([label, value], i) =>
      value === ''
        ? []
        : [
            [`cs${i + 1}Label`, label],
            [`cs${i + 1}`, value],
          ],
    ),
  );
}

/** CEF's `src` is IPv4; IPv6 has a field of its own. */
function addressFields(source: string): Readonly<Record<string, string>> {
  const address = addressOf(source);
  if (address === '') return {};
  return address.includes(':') ? { c6a2Label: 'Source IPv6 Address', c6a2: address } : { src: address };
}
