import type { HttpRequest } from '../../../core/policy/model.ts';
import { normalizePath } from '../../../core/policy/path.ts';
import type { Call } from '../enforce.ts';

export type ReadRequest =
  | { readonly ok: true; readonly http: HttpRequest; readonly target: string }
  /** The request cannot be taken to mean one thing. */
  | { readonly ok: false; readonly why: string };

/**
 * What rules ask about an HTTP call.
 *
 * @param wanted names, in lower case, of the fields that any of them asks for
 */
export function readRequest(call: Call, wanted: readonly string[]): ReadRequest {
  if (call.malformed !== undefined) return { ok: false, why: call.malformed };
  const normal = normalizePath(call.target);
  if (!normal.ok) return { ok: false, why: normal.why };
  const { path, target } = normal;
  const headers = headersOf(call.fields, wanted);
  return { ok: true, http: { method: call.method, path, host: call.host, headers }, target };
}

/** The path as it was sent, for the record of a call that is refused before its path is read. */
export function pathAsSent(target: string): string {
  return target.split(/[?#]/, 1)[0] ?? '';
}

const noHeaders: ReadonlyMap<string, readonly string[]> = new Map();

/** Those that are wanted, by name in lower case, each as often as it stands there. */
export function headersOf(
  fields: readonly string[],
  wanted: readonly string[],
): ReadonlyMap<string, readonly string[]> {
  if (wanted.length === 0) return noHeaders;
  const headers = new Map<string, string[]>();
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const name = (fields[i] ?? '').toLowerCase();
    if (!wanted.includes(name)) continue;
    const values = headers.get(name);
    if (values === undefined) headers.set(name, [fields[i + 1] ?? '']);
    else values.push(fields[i + 1] ?? '');
  }
  // HTTP/2 may cut a cookie into crumbs (RFC 9113 §8.2.3); it is one field.
  const crumbs = headers.get('cookie');
  if (crumbs !== undefined && crumbs.length > 1) headers.set('cookie', [crumbs.join('; ')]);
  return headers;
}
