import { MAX_JWKS_BYTES, whyNoJwks } from '../core/policy/jwks.ts';
import type {
  ClaimToHeader,
  JwtHeader,
  JwtRule,
  RequestAuthentication,
} from '../core/policy/request-authentication.ts';
import { isCookieName, isParameterName, whyNoOutputHeader, whyNoTokenHeader } from '../core/policy/token-places.ts';
import * as field from './fields.ts';
import type { ClaimToHeader__Output } from './gen/writ/v1/ClaimToHeader.ts';
import type { JwtHeader__Output } from './gen/writ/v1/JwtHeader.ts';
import type { JwtRule__Output, JwtRule as ProtoRule } from './gen/writ/v1/JwtRule.ts';
import type {
  RequestAuthentication as ProtoAuthentication,
  RequestAuthentication__Output,
} from './gen/writ/v1/RequestAuthentication.ts';

const MAX_RULES = 128;
const MAX_PLACES = 64;
const MAX_VALUES = 256;

/** What a sidecar needs of it: the keys have to be in it, and where they came from stays here. */
export function toRequestAuthentication(one: RequestAuthentication): ProtoAuthentication {
  return {
    namespace: one.namespace,
    name: one.name,
    revision: field.toU64(one.revision),
    rules: one.rules.map(toRule),
  };
}

/** `invalid` for anything that is not fully understood: a token must not be verified by half a rule. */
export function fromRequestAuthentication(message: RequestAuthentication__Output, path: string): RequestAuthentication {
  return Object.freeze({
    namespace: field.text(message.namespace, `${path}.namespace`, 255),
    name: field.text(message.name, `${path}.name`, 255),
    revision: field.u64(message.revision, `${path}.revision`),
    selector: Object.freeze({}),
    rules: field.list(message.rules, `${path}.rules`, fromRule, { min: 1, max: MAX_RULES }),
  });
}

function toRule(rule: JwtRule): ProtoRule {
  return {
    issuer: rule.issuer,
    audiences: [...rule.audiences],
    // None: no token of the issuer is good.
    jwks: rule.jwks ?? '',
    fromHeaders: rule.fromHeaders.map(({ name, prefix }) => ({ name, prefix })),
    fromParams: [...rule.fromParams],
    fromCookies: [...rule.fromCookies],
    forwardOriginalToken: rule.forwardOriginalToken,
    outputPayloadToHeader: rule.outputPayloadToHeader ?? '',
    outputClaims: rule.outputClaims.map(({ header, claim }) => ({ header, claim })),
    spaceDelimitedClaims: [...rule.spaceDelimitedClaims],
  };
}

function fromRule(message: JwtRule__Output, path: string): JwtRule {
  const payload = message.outputPayloadToHeader;
  const named = (check: (name: string) => boolean) => (value: string, at: string) => {
    if (value === '' || !check(value)) throw field.invalid(at, 'is no name of such a place');
    return value;
  };
  const output = named((name) => whyNoOutputHeader(name) === undefined);
  return Object.freeze({
    issuer: field.text(message.issuer, `${path}.issuer`),
    audiences: field.list(message.audiences, `${path}.audiences`, field.text, { max: MAX_VALUES }),
    jwks: fromJwks(message.jwks, `${path}.jwks`),
    // Of a fetch, and the sidecar fetches nothing.
    timeoutMs: 0,
    fromHeaders: field.list(message.fromHeaders, `${path}.from_headers`, fromHeader, { max: MAX_PLACES }),
    fromParams: field.list(message.fromParams, `${path}.from_params`, named(isParameterName), { max: MAX_PLACES }),
    fromCookies: field.list(message.fromCookies, `${path}.from_cookies`, named(isCookieName), { max: MAX_PLACES }),
    forwardOriginalToken: message.forwardOriginalToken,
    ...(payload !== '' && { outputPayloadToHeader: output(payload, `${path}.output_payload_to_header`) }),
    outputClaims: field.list(
      message.outputClaims,
      `${path}.output_claims`,
      (claim, at): ClaimToHeader => fromOutput(claim, at, output),
      { max: MAX_VALUES },
    ),
    spaceDelimitedClaims: field.list(message.spaceDelimitedClaims, `${path}.space_delimited_claims`, field.text, {
      max: MAX_VALUES,
    }),
  });
}

function fromJwks(value: string, path: string): string {
  if (value === '') return value;
  field.text(value, path, MAX_JWKS_BYTES);
  const problem = whyNoJwks(value);
  if (problem !== undefined) throw field.invalid(path, `is no set of keys: ${problem}`);
  return value;
}

function fromHeader({ name, prefix }: JwtHeader__Output, path: string): JwtHeader {
  if (whyNoTokenHeader(name) !== undefined) throw field.invalid(`${path}.name`, 'is no field for tokens');
  return Object.freeze({ name, prefix: field.textOrEmpty(prefix, `${path}.prefix`, 256) });
}

function fromOutput(
  { header, claim }: ClaimToHeader__Output,
  path: string,
  output: (value: string, at: string) => string,
): ClaimToHeader {
  return Object.freeze({
    header: output(header, `${path}.header`),
    claim: field.text(claim, `${path}.claim`, 256),
  });
}
