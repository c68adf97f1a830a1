import type { IssuerKey } from './jwks.ts';
import { parseJwks } from './jwks.ts';
import { ruleId } from './model.ts';
import type { JwtRule, RequestAuthentication } from './request-authentication.ts';
import { canonical } from './token-places.ts';

/** A rule with its keys ready. */
export interface UserTokenRule {
  /** `<namespace>/<name>@<revision>#<index>`. */
  readonly id: string;
  readonly rule: JwtRule;
  /** None: they could not be had, and no token of the issuer is good. */
  readonly keys: readonly IssuerKey[];
}

/** One place in which tokens stand, and whose they may be there. */
export type TokenPlace =
  /** Of a header field that is named in its canonical spelling; `scheme` for one that `Authorization` has. */
  | { readonly in: 'header'; readonly name: string; readonly prefix: string; readonly rules: readonly UserTokenRule[] }
  | { readonly in: 'parameter' | 'cookie'; readonly name: string; readonly rules: readonly UserTokenRule[] };

/** The RequestAuthentications of one workload, made ready for calls. Immutable. */
export interface UserTokenRules {
  readonly places: readonly TokenPlace[];
  /** Fields, in their canonical spelling, that say what a token said: nobody else may. */
  readonly outputs: ReadonlySet<string>;
}

/**
 * @param authentications with their keys in `jwks`, '' for keys that could not be had
 * @throws AppError `invalid` for keys that are none
 */
export function compileUserTokenRules(authentications: readonly RequestAuthentication[]): UserTokenRules | undefined {
  const rules = authentications.flatMap((one) =>
    one.rules.map((rule, index) =>
      Object.freeze({
        id: ruleId(one, index),
        rule,
        keys: rule.jwks === undefined || rule.jwks === '' ? [] : parseJwks(rule.jwks),
      }),
    ),
  );
  if (rules.length === 0) return undefined;
  const outputs = rules.flatMap(({ rule }) => [
    ...(rule.outputPayloadToHeader === undefined ? [] : [rule.outputPayloadToHeader]),
    ...rule.outputClaims.map(({ header }) => header),
  ]);
  return Object.freeze({ places: placesOf(rules), outputs: new Set(outputs.map(canonical)) });
}

function placesOf(rules: readonly UserTokenRule[]): readonly TokenPlace[] {
  const places = new Map<string, TokenPlace & { readonly rules: UserTokenRule[] }>();
  const add = (place: TokenPlace, rule: UserTokenRule) => {
    const key = JSON.stringify([place.in, place.name, 'prefix' in place ? place.prefix : '']);
    const known = places.get(key);
    if (known === undefined) places.set(key, { ...place, rules: [rule] });
    else if (!known.rules.includes(rule)) known.rules.push(rule);
  };
  for (const each of rules) {
    const { fromHeaders, fromParams, fromCookies } = each.rule;
    const named = fromHeaders.length + fromParams.length + fromCookies.length > 0;
    // RFC 6750 §2.1 and §2.3, where nothing else is said.
    const headers = named ? fromHeaders : [{ name: 'authorization', prefix: 'Bearer ' }];
    const params = named ? fromParams : ['access_token'];
    for (const { name, prefix } of headers) add({ in: 'header', name: canonical(name), prefix, rules: [] }, each);
    for (const name of params) add({ in: 'parameter', name, rules: [] }, each);
    for (const name of fromCookies) add({ in: 'cookie', name, rules: [] }, each);
  }
  return Object.freeze([...places.values()]);
}
