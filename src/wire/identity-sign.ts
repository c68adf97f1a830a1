import { AppError, toAppError } from '../base/errors.ts';
import { MAX_CSR_BYTES } from '../core/identity/csr.ts';
import { checkAudience } from '../core/identity/jwt-svid.ts';
import { isErrorCode } from './errors.ts';
import * as field from './fields.ts';
import type { ItemError, ItemError__Output } from './gen/writ/v1/ItemError.ts';
import type { SignJwtRequest, SignJwtRequest__Output } from './gen/writ/v1/SignJwtRequest.ts';
import type { SignJwtResponse, SignJwtResponse__Output } from './gen/writ/v1/SignJwtResponse.ts';
import type { SignWitRequest, SignWitRequest__Output } from './gen/writ/v1/SignWitRequest.ts';
import type { SignWitResponse, SignWitResponse__Output } from './gen/writ/v1/SignWitResponse.ts';
import type { SignX509Request, SignX509Request__Output } from './gen/writ/v1/SignX509Request.ts';
import type { SignX509Response, SignX509Response__Output } from './gen/writ/v1/SignX509Response.ts';
import type { IssuedCertificate, IssuedToken } from './identity.ts';
import { fromCertificate, toCertificate } from './identity.ts';

/** Items of one request. */
export const MAX_X509_ITEMS = 500;
export const MAX_WIT_ITEMS = 100;
export const MAX_AUDIENCES = 16;

const MAX_ID_LENGTH = 128;
const MAX_VARIABLES = 8;
const MAX_TOKEN_LENGTH = 16 * 1024;

/** What an agent asks for a workload beside it. */
export interface SignItem {
  readonly entryId: string;
  /** PKCS #10, DER: proves that the key exists. */
  readonly csr: Buffer;
  /** Values for the variables of a templated entry. */
  readonly variables: Readonly<Record<string, string>>;
}

export interface SignJwtOrder {
  /** The caller itself gets a token for exactly one; a workload of an agent for up to 16. */
  readonly audience: readonly string[];
  /** Undefined when the caller asks for itself. */
  readonly entryId: string | undefined;
  readonly variables: Readonly<Record<string, string>>;
}

/** One bad item does not fail its neighbours. */
export type ItemResult<T> = { readonly value: T } | { readonly error: AppError };

export function toSignX509Request(items: readonly SignItem[]): SignX509Request {
  return { items: items.map(toItem) };
}

export function fromSignX509Request(message: SignX509Request__Output): readonly SignItem[] {
  return field.list(message.items, 'items', fromItem, { min: 1, max: MAX_X509_ITEMS });
}

export function toSignX509Response(results: readonly ItemResult<IssuedCertificate>[]): SignX509Response {
  return { results: toResults(results, (value) => ({ certificate: toCertificate(value) })) };
}

/** @param count of the items that were asked for */
export function fromSignX509Response(
  message: SignX509Response__Output,
  count: number,
): readonly ItemResult<IssuedCertificate>[] {
  return fromResults(message.results, count, 'certificate', (each, path) =>
    fromCertificate(each.certificate, `${path}.certificate`),
  );
}

export function toSignWitRequest(items: readonly SignItem[]): SignWitRequest {
  return { items: items.map(toItem) };
}

export function fromSignWitRequest(message: SignWitRequest__Output): readonly SignItem[] {
  return field.list(message.items, 'items', fromItem, { min: 1, max: MAX_WIT_ITEMS });
}

export function toSignWitResponse(results: readonly ItemResult<IssuedToken>[]): SignWitResponse {
  return { results: toResults(results, (value) => ({ svid: toToken(value) })) };
}

/** @param count of the items that were asked for */
export function fromSignWitResponse(
  message: SignWitResponse__Output,
  count: number,
): readonly ItemResult<IssuedToken>[] {
  return fromResults(message.results, count, 'svid', (each, path) =>
    fromToken(field.required(each.svid, `${path}.svid`), `${path}.svid.`),
  );
}

function toResults<T, R>(results: readonly ItemResult<T>[], toValue: (value: T) => R) {
  return results.map((each) => ('value' in each ? toValue(each.value) : { error: toItemError(each.error) }));
}

/** What one item of an answer is: what was asked for, under its own name, or why there is none. */
interface Answered<Name extends string> {
  readonly result?: Name | 'error';
  readonly error?: ItemError__Output | null;
}

function fromResults<T, Name extends string, A extends Answered<Name>>(
  results: readonly A[],
  count: number,
  name: Name,
  fromValue: (answered: A, path: string) => T,
): readonly ItemResult<T>[] {
  checkCount(results, count);
  return field.list(results, 'results', (each, path) => {
    if (each.result === name) return { value: fromValue(each, path) };
    if (each.result === 'error') return { error: fromItemError(each.error, `${path}.error`) };
    throw field.invalid(path, 'is missing');
  });
}

export function toSignJwtRequest(order: {
  readonly audience: readonly string[];
  readonly entryId?: string | undefined;
  readonly variables?: Readonly<Record<string, string>>;
}): SignJwtRequest {
  return { audience: [...order.audience], entryId: order.entryId ?? '', variables: { ...order.variables } };
}

/** Whoever asks for itself names exactly one audience: a token for several could be replayed by each of them at the others. */
export function fromSignJwtRequest(message: SignJwtRequest__Output): SignJwtOrder {
  const own = message.entryId === '';
  const audience = field.list(message.audience, 'audience', fromAudience, { min: 1, max: own ? 1 : MAX_AUDIENCES });
  return Object.freeze({
    audience,
    entryId: own ? undefined : field.text(message.entryId, 'entry_id', MAX_ID_LENGTH),
    variables: fromVariables(message.variables, 'variables'),
  });
}

export function toSignJwtResponse(issued: IssuedToken): SignJwtResponse {
  return toToken(issued);
}

export function fromSignJwtResponse(message: SignJwtResponse__Output): IssuedToken {
  return fromToken(message, '');
}

function fromAudience(value: string, path: string): string {
  const audience = field.text(value, path);
  checkAudience(audience);
  return audience;
}

function toItem(item: SignItem) {
  return { entryId: item.entryId, csr: item.csr, variables: { ...item.variables } };
}

function fromItem(
  item: { readonly entryId: string; readonly csr: Buffer; readonly variables: { readonly [name: string]: string } },
  path: string,
): SignItem {
  return Object.freeze({
    entryId: field.text(item.entryId, `${path}.entry_id`, MAX_ID_LENGTH),
    csr: field.bytes(item.csr, `${path}.csr`, { min: 1, max: MAX_CSR_BYTES }),
    variables: fromVariables(item.variables, `${path}.variables`),
  });
}

function fromVariables(message: { readonly [name: string]: string }, path: string): Readonly<Record<string, string>> {
  const entries = Object.entries(message);
  if (entries.length > MAX_VARIABLES) throw field.invalid(path, `has more than ${MAX_VARIABLES} elements`);
  for (const [name, value] of entries) {
    field.text(name, `${path}, a name`, 256);
    field.text(value, `${path}, a value`);
  }
  return Object.freeze(Object.fromEntries(entries));
}

function toToken(issued: IssuedToken) {
  return {
    token: issued.token,
    spiffeId: issued.spiffeId,
    issuedAt: field.toTime(issued.issuedAt),
    expiresAt: field.toTime(issued.expiresAt),
  };
}

/** @param at path of the message, with its dot; empty for the message itself */
function fromToken(message: SignJwtResponse__Output, at: string): IssuedToken {
  return Object.freeze({
    token: field.text(message.token, `${at}token`, MAX_TOKEN_LENGTH),
    spiffeId: field.spiffeId(message.spiffeId, `${at}spiffe_id`),
    issuedAt: field.time(message.issuedAt, `${at}issued_at`),
    expiresAt: field.time(message.expiresAt, `${at}expires_at`),
  });
}

/** As on the status of a call: what was not expected tells nothing, and the cause stays here. */
function toItemError(error: unknown): ItemError {
  const { code, message } = toAppError(error);
  return { code, message: field.cut(message, 2048) };
}

function fromItemError(message: ItemError__Output | null | undefined, path: string): AppError {
  const error = field.required(message, path);
  return new AppError(isErrorCode(error.code) ? error.code : 'internal', field.cut(error.message, 2048));
}

function checkCount(results: readonly unknown[], count: number): void {
  if (results.length !== count) throw field.invalid('results', `has ${results.length} elements, not ${count}`);
}
