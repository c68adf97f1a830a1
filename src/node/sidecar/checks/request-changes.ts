import type { OutgoingHttpHeaders } from 'node:http2';
import { sensitiveHeaders } from 'node:http2';

/**
 * What checks change of the fields of a request before the application gets it, or of its answer before the caller does. First `remove`, then `set`, then `append`.
 * All names are in lower case and none is protected (`isProtectedField`); whoever makes one sees to it.
 */
export interface RequestChanges {
  /** Fields that go, however often they stand there. */
  readonly remove: readonly string[];
  /** Fields that take the place of all of the same name. */
  readonly set: readonly (readonly [name: string, value: string])[];
  /** Fields that come after those of the same name. */
  readonly append: readonly (readonly [name: string, value: string])[];
  /** Fields, in their canonical spelling, that nobody else may say: they are not passed on behind the body either. Absent: none. */
  readonly withheld?: ReadonlySet<string>;
}

/** First the one, then the other. */
export function bothChanges(
  first: RequestChanges | undefined,
  second: RequestChanges | undefined,
): RequestChanges | undefined {
  if (first === undefined || second === undefined) return first ?? second;
  const gone = new Set([...second.remove, ...second.set.map(([name]) => name)]);
  const stays = ([name]: readonly [string, string]) => !gone.has(name);
  return {
    remove: [...first.remove, ...second.remove],
    set: [...first.set.filter(stays), ...second.set],
    append: [...first.append.filter(stays), ...second.append],
    withheld: new Set([...(first.withheld ?? []), ...(second.withheld ?? [])]),
  };
}

/** Of HTTP/1.1: name and value alternating. */
export function changedFields(fields: readonly string[], changes: RequestChanges | undefined): readonly string[] {
  if (changes === undefined) return fields;
  const gone = new Set([...changes.remove, ...changes.set.map(([name]) => name)]);
  const out: string[] = [];
  for (let i = 0; i + 1 < fields.length; i += 2) {
    if (!gone.has((fields[i] ?? '').toLowerCase())) out.push(fields[i] ?? '', fields[i + 1] ?? '');
  }
  for (const [name, value] of changes.set) out.push(name, value);
  for (const [name, value] of changes.append) out.push(name, value);
  return out;
}

/** Of HTTP/2: in place. */
export function changeHeaders(headers: OutgoingHttpHeaders, changes: RequestChanges | undefined): void {
  if (changes === undefined) return;
  for (const name of changes.remove) delete headers[name];
  for (const [name] of changes.set) delete headers[name];
  for (const [name, value] of [...changes.set, ...changes.append]) {
    const there = headers[name];
    if (there === undefined) headers[name] = value;
    // HTTP/2 has one cookie field in crumbs (RFC 9113 §8.2.3); Node joins what came, and sends an array as several.
    else headers[name] = Array.isArray(there) ? [...there, value] : [String(there), value];
  }
  const { [sensitiveHeaders]: sensitive } = headers as { [sensitiveHeaders]?: readonly string[] };
  if (sensitive === undefined) return;
  (headers as { [sensitiveHeaders]?: readonly string[] })[sensitiveHeaders] = sensitive.filter(
    (name) => headers[name] !== undefined,
  );
}
