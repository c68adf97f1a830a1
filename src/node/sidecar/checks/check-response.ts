import { canonical } from '../../../core/policy/token-places.ts';
import type { HeaderValueOption__Output } from '../../../wire/gen/envoy/config/core/v3/HeaderValueOption.ts';
import type { CheckResponse__Output } from '../../../wire/gen/envoy/service/auth/v3/CheckResponse.ts';
import type { DeniedHttpResponse__Output } from '../../../wire/gen/envoy/service/auth/v3/DeniedHttpResponse.ts';
import type { OkHttpResponse__Output } from '../../../wire/gen/envoy/service/auth/v3/OkHttpResponse.ts';
import { isProtectedField } from '../http1-head.ts';
import type { Problem } from '../problem.ts';
import type { Asked } from './check-request.ts';
import { changedQuery } from './query.ts';
import type { RequestChanges } from './request-changes.ts';
import { changedFields } from './request-changes.ts';

/** What an authorizer that agreed wants changed. */
export interface Agreed {
  readonly changes: RequestChanges | undefined;
  /** With the query that it wants. */
  readonly target: string;
  /** For the answer of the application. */
  readonly answer: RequestChanges | undefined;
}

/** One that did not. */
export interface Objected {
  readonly ok: false;
  /** What it wants the caller to be told; undefined where it has not answered. */
  readonly answer: Pick<Problem, 'status' | 'headers' | 'body'> | undefined;
}

const OK = 0;
const MAX_BODY_CHARACTERS = 64 * 1024;
const MAX_FIELDS = 256;
const MAX_VALUE_LENGTH = 16 * 1024;
/** A second one would be seen by one reader and not by another. */
const onlyOnce = new Set(['authorization', 'content-type', 'cookie']);
/** RFC 9110 §5.1 and §5.5, as octets. */
const nameForm = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}$/;
const valueForm = /^[\t\x20-\x7e\x80-\xff]*$/;

/**
 * What an authorizer's answer means; undefined for one that cannot be understood. To agree takes a status that says so: an
 * answer without one is none. Fields that nobody but the sidecar may set are left out, as in Envoy: pseudo fields, Host, how
 * the message is framed, who the caller is.
 */
export function readCheckResponse(
  response: CheckResponse__Output,
  asked: Asked,
): ({ readonly ok: true } & Agreed) | Objected | undefined {
  if (response.status === null) return undefined;
  const denied = response.httpResponse === 'deniedResponse' ? response.deniedResponse : null;
  if (response.status.code !== OK || response.httpResponse === 'deniedResponse') {
    return { ok: false, answer: denied == null ? { status: 403 } : answerOf(denied) };
  }
  const ok = response.okResponse;
  if (ok == null) return { ok: true, changes: undefined, target: asked.target, answer: undefined };
  const changes = changesOf(ok, asked);
  // What stands in an answer that is not there yet cannot be asked: all of them take the place of what there is.
  const added = fieldsOf(ok.responseHeadersToAdd);
  if (changes === undefined || added === undefined) return undefined;
  const answer = added.length === 0 ? undefined : placed(added, () => true);
  return { ok: true, changes, target: asked.call.protocol === 'tcp' ? '' : targetOf(ok, asked.target), answer };
}

/** Of several for one name, the last that sets it and those that append to it. */
function placed(fields: readonly Field[], isThere: (name: string) => boolean): RequestChanges {
  const set = new Map<string, string>();
  const append: (readonly [string, string])[] = [];
  for (const { name, value, action } of fields) {
    if (action === 'append' && !onlyOnce.has(name)) append.push([name, value]);
    else if (action === 'set' || action === 'append') set.set(name, value);
    else if ((action === 'set-if-there') === (isThere(name) || set.has(name))) set.set(name, value);
  }
  return { remove: [], set: [...set], append };
}

function targetOf(ok: OkHttpResponse__Output, target: string): string {
  const set = ok.queryParametersToSet.map(({ key, value }) => [key.toWellFormed(), value.toWellFormed()] as const);
  return changedQuery(target, { remove: ok.queryParametersToRemove, set: set.filter(([key]) => key !== '') });
}

function changesOf(ok: OkHttpResponse__Output, { call, changes }: Asked): RequestChanges | undefined {
  const fields = fieldsOf(ok.headers);
  if (fields === undefined || ok.headersToRemove.length > MAX_FIELDS) return undefined;
  if (!ok.headersToRemove.every((name) => name.startsWith(':') || nameForm.test(name))) return undefined;
  const there = new Set<string>();
  for (const [i, name] of changedFields(call.fields, changes).entries()) if (i % 2 === 0) there.add(name.toLowerCase());
  const remove = ok.headersToRemove.map((name) => name.toLowerCase()).filter((name) => !isProtectedField(name));
  const wanted = placed(fields, (name) => there.has(name));
  return { ...wanted, remove, withheld: new Set([...remove, ...wanted.set.map(([name]) => name)].map(canonical)) };
}

/** What the caller is told: an answer that is one, whatever the authorizer made up. */
function answerOf(denied: DeniedHttpResponse__Output): Objected['answer'] {
  const status = Number(denied.status?.code);
  const fields = fieldsOf(denied.headers);
  // Refused is refused; only how it is said is not believed.
  if (fields === undefined || denied.body.length > MAX_BODY_CHARACTERS) return { status: 403 };
  const headers = new Map<string, string[]>();
  for (const { name, value, action } of fields) {
    const before = headers.get(name);
    if (before === undefined || action === 'set') headers.set(name, [value]);
    else if (action !== 'add-if-absent') before.push(value);
  }
  return {
    status: isFinal(status) ? status : 403,
    headers: Object.fromEntries(headers),
    ...(denied.body !== '' && { body: Buffer.from(denied.body.toWellFormed()) }),
  };
}

/** Statuses that end a call and whose answer may have a body. */
function isFinal(status: number): boolean {
  return Number.isInteger(status) && status >= 200 && status <= 599 && ![204, 205, 304].includes(status);
}

interface Field {
  readonly name: string;
  readonly value: string;
  readonly action: 'set' | 'append' | 'add-if-absent' | 'set-if-there';
}

/** Undefined if any of them is no field: then it is not known what was meant. */
function fieldsOf(options: readonly HeaderValueOption__Output[]): readonly Field[] | undefined {
  if (options.length > MAX_FIELDS) return undefined;
  const fields: Field[] = [];
  for (const option of options) {
    const { key = '', value: text = '', rawValue = Buffer.alloc(0) } = option.header ?? {};
    // What is not ASCII travels as the octets of its UTF-8, as Envoy sends it.
    const value = (rawValue.length > 0 ? rawValue : Buffer.from(text)).toString('latin1');
    const name = key.toLowerCase();
    if (name.startsWith(':')) continue;
    if (!nameForm.test(name) || !valueForm.test(value) || value.length > MAX_VALUE_LENGTH) return undefined;
    if (isProtectedField(name)) continue;
    const action = actionOf(option);
    if (action === undefined) return undefined;
    // Envoy leaves out a field without a value unless it is told to keep it.
    if (value === '' && !option.keepEmptyValue) continue;
    fields.push({ name, value, action });
  }
  return fields;
}

/** `append`, where it is given, wins; and where neither is, the default in this message is to overwrite. */
function actionOf({ append, appendAction }: HeaderValueOption__Output): Field['action'] | undefined {
  if (append !== null) return append.value ? 'append' : 'set';
  switch (appendAction) {
    case 'APPEND_IF_EXISTS_OR_ADD':
    case 'OVERWRITE_IF_EXISTS_OR_ADD':
      return 'set';
    case 'ADD_IF_ABSENT':
      return 'add-if-absent';
    case 'OVERWRITE_IF_EXISTS':
      return 'set-if-there';
    default:
      return undefined;
  }
}
