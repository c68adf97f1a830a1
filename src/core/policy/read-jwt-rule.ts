import { authenticationShapes as shapes } from './authentication-fields.ts';
import type { Findings } from './findings.ts';
import { quoted } from './findings.ts';
import { whyNoJwks } from './jwks.ts';
import { whyNoKeyUrl } from './key-url.ts';
import { readDuration } from './read-duration.ts';
import { requireText } from './read-metadata.ts';
import type { ClaimToHeader, JwtHeader, JwtRule } from './request-authentication.ts';
import { canonical, isCookieName, isParameterName, whyNoOutputHeader, whyNoTokenHeader } from './token-places.ts';
import type { Field, Value } from './yaml-reader.ts';
import { readBoolean, readFields, readItems, readText } from './yaml-reader.ts';

/** Values in one field. */
const MAX_VALUES = 256;
const MAX_PLACES = 16;
const MAX_TEXT = 2048;
/** Of one fetch of the keys; Istio's default. */
const DEFAULT_TIMEOUT_MS = 5_000;
const timeoutLimits = { minMs: 1, maxMs: 60_000 };

/** Reads what holds for the tokens of one issuer. */
export function readJwtRule(value: Value, findings: Findings): JwtRule | undefined {
  const fields = readFields(value, shapes.jwtRule, findings);
  if (fields === undefined) return undefined;
  const issuer = readIssuer(fields, value, findings);
  const audiences = readList(fields.get('audiences'), readAudience, findings);
  if (!fields.has('audiences')) {
    const message =
      'Without "audiences" every token of the issuer is accepted, also one that was meant for another application, which can then use it here. Name who it must be for.';
    findings.warn('audiences-unchecked', value, message);
  }
  const keys = readKeys(fields, issuer, findings);
  const fromHeaders = readList(fields.get('fromHeaders'), readTokenHeader, findings, MAX_PLACES);
  const fromParams = readList(fields.get('fromParams'), readParameter, findings, MAX_PLACES);
  const fromCookies = readList(fields.get('fromCookies'), readCookie, findings, MAX_PLACES);
  const forward = fields.get('forwardOriginalToken');
  const forwardOriginalToken = forward === undefined ? false : readBoolean(forward, findings);
  const outputs = readOutputs(fields, findings);
  const spaceDelimitedClaims = readList(fields.get('spaceDelimitedClaims'), readClaim, findings);
  const timeoutField = fields.get('timeout');
  const timeoutMs =
    timeoutField === undefined ? DEFAULT_TIMEOUT_MS : readDuration(timeoutField, timeoutLimits, findings);
  if (
    issuer === undefined ||
    audiences === undefined ||
    keys === undefined ||
    fromHeaders === undefined ||
    fromParams === undefined ||
    fromCookies === undefined ||
    forwardOriginalToken === undefined ||
    outputs === undefined ||
    spaceDelimitedClaims === undefined ||
    timeoutMs === undefined
  ) {
    return undefined;
  }
  return Object.freeze({
    issuer,
    audiences,
    ...keys,
    timeoutMs,
    fromHeaders,
    fromParams,
    fromCookies,
    forwardOriginalToken,
    ...outputs,
    spaceDelimitedClaims,
  });
}

type Fields = ReadonlyMap<string, Field>;

function readIssuer(fields: Fields, owner: Value, findings: Findings): string | undefined {
  const found = requireText(fields, 'issuer', owner, findings);
  if (found === undefined || isClean(found.text)) return found?.text;
  const message = `The issuer ${quoted(found.text)} can be that of no token: it has at most ${MAX_TEXT} characters, and none that cannot be seen.`;
  findings.add('invalid-issuer', found.at, message);
  return undefined;
}

/** Where the keys are: here, at a URL, or where the issuer's discovery document says. Istio's CRD allows only one of them. */
function readKeys(
  fields: Fields,
  issuer: string | undefined,
  findings: Findings,
): Pick<JwtRule, 'jwks' | 'jwksUri'> | undefined {
  const given = ['jwks', 'jwksUri', 'jwks_uri'].flatMap((name) => fields.get(name) ?? []);
  const [first, second] = given;
  if (second !== undefined) {
    findings.add('conflicting-fields', second.key, 'The keys are said twice. Keep one of "jwks" and "jwksUri".');
    return undefined;
  }
  if (first === undefined) return discovered(fields.get('issuer'), issuer, findings);
  const text = readText(first, findings);
  if (text === undefined) return undefined;
  const isUri = first !== fields.get('jwks');
  const problem = isUri ? whyNoKeyUrl(text) : whyNoJwks(text);
  if (problem === undefined) return isUri ? { jwksUri: text } : { jwks: text };
  if (isUri) findings.add('invalid-jwks-uri', first, `No keys are fetched from ${quoted(text)}: ${problem}.`);
  else findings.add('invalid-jwks', first, `This is no JSON Web Key Set of public keys: ${problem}.`);
  return undefined;
}

/** OpenID Connect Discovery §4: the document stands below the issuer, which is a URL then. */
function discovered(at: Field | undefined, issuer: string | undefined, findings: Findings): object | undefined {
  if (issuer === undefined || at === undefined) return undefined;
  const problem = whyNoKeyUrl(issuer);
  if (problem === undefined) return {};
  const message = `There is neither "jwks" nor "jwksUri", and below the issuer ${quoted(issuer)} no document can say where its keys are: ${problem}. Give one of the two.`;
  findings.add('invalid-issuer', at, message);
  return undefined;
}

function readTokenHeader(value: Value, findings: Findings): JwtHeader | undefined {
  const fields = readFields(value, shapes.fromHeader, findings);
  if (fields === undefined) return undefined;
  const name = requireText(fields, 'name', value, findings);
  const problem = name === undefined ? undefined : whyNoTokenHeader(name.text);
  if (name !== undefined && problem !== undefined) placeless('A token', name, problem, findings);
  const prefixField = fields.get('prefix');
  const prefix = prefixField === undefined ? '' : readText(prefixField, findings);
  if (prefixField !== undefined && prefix !== undefined && !/^[\x20-\x7e]{1,256}$/.test(prefix)) {
    placeless('A token', { text: prefix, at: prefixField }, 'nothing of that kind can stand before it', findings);
  }
  if (name === undefined || prefix === undefined) return undefined;
  return Object.freeze({ name: name.text.toLowerCase(), prefix });
}

function readParameter(value: Value, findings: Findings): string | undefined {
  const text = readText(value, findings);
  if (text === undefined || isParameterName(text)) return text;
  placeless('A token', { text, at: value }, 'it is not the name of a query parameter', findings);
  return undefined;
}

function readCookie(value: Value, findings: Findings): string | undefined {
  const text = readText(value, findings);
  if (text === undefined || isCookieName(text)) return text;
  placeless('A token', { text, at: value }, 'it is not the name of a cookie', findings);
  return undefined;
}

function readOutputs(
  fields: Fields,
  findings: Findings,
): Pick<JwtRule, 'outputPayloadToHeader' | 'outputClaims'> | undefined {
  const payloadField = fields.get('outputPayloadToHeader');
  const payload = payloadField === undefined ? undefined : readText(payloadField, findings);
  const outputClaims = readList(fields.get('outputClaimToHeaders'), readOutput, findings);
  if (payloadField !== undefined && payload !== undefined) checkOutput(payload, payloadField, findings);
  if (outputClaims === undefined) return undefined;
  const seen = new Set(payload === undefined ? [] : [canonical(payload)]);
  for (const { header } of outputClaims) {
    const key = canonical(header);
    const at = fields.get('outputClaimToHeaders');
    if (seen.has(key) && at !== undefined) {
      const message = `Two values are put into the header field ${quoted(header)}. Give each its own.`;
      findings.add('conflicting-fields', at.key, message);
    }
    seen.add(key);
  }
  return { ...(payload !== undefined && { outputPayloadToHeader: payload.toLowerCase() }), outputClaims };
}

function readOutput(value: Value, findings: Findings): ClaimToHeader | undefined {
  const fields = readFields(value, shapes.outputClaim, findings);
  if (fields === undefined) return undefined;
  const header = requireText(fields, 'header', value, findings);
  const claimField = requireText(fields, 'claim', value, findings);
  if (header !== undefined) checkOutput(header.text, header.at, findings);
  const claim = claimField === undefined ? undefined : readClaim(claimField.at, findings);
  if (header === undefined || claim === undefined) return undefined;
  return Object.freeze({ header: header.text.toLowerCase(), claim });
}

function checkOutput(name: string, at: Value, findings: Findings): void {
  const problem = whyNoOutputHeader(name);
  if (problem !== undefined) placeless('A claim', { text: name, at }, problem, findings);
}

function placeless(
  what: string,
  { text, at }: { readonly text: string; readonly at: Value },
  why: string,
  findings: Findings,
): void {
  findings.add('invalid-token-place', at, `${what} cannot stand in ${quoted(text)}: ${why}.`);
}

function readAudience(value: Value, findings: Findings): string | undefined {
  const text = readText(value, findings);
  if (text === undefined || text.length <= MAX_TEXT) return text;
  findings.add(
    'invalid-claim',
    value,
    `The audience ${quoted(text)} can be that of no token: it has at most ${MAX_TEXT} characters.`,
  );
  return undefined;
}

function readClaim(value: Value, findings: Findings): string | undefined {
  const text = readText(value, findings);
  if (text === undefined || (isClean(text) && text.length <= 256)) return text;
  findings.add('invalid-claim', value, `The claim ${quoted(text)} can stand in no token that is read here.`);
  return undefined;
}

function readList<T>(
  value: Field | undefined,
  read: (value: Value, findings: Findings) => T | undefined,
  findings: Findings,
  max = MAX_VALUES,
): readonly T[] | undefined {
  if (value === undefined) return Object.freeze([]);
  const items = readItems(value, findings, { max, mayBeEmpty: true })?.map((item) => read(item, findings));
  return items?.every((item) => item !== undefined) === true ? Object.freeze(items as T[]) : undefined;
}

function isClean(text: string): boolean {
  return text.length <= MAX_TEXT && !/\p{Cc}/u.test(text) && text.isWellFormed() && text.trim() === text;
}
