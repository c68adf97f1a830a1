import { unreachable } from '../../../base/errors.ts';
import { claimsJwtSvid } from '../../../core/identity/jwt-svid.ts';
import type { FoundToken } from '../../../core/policy/find-tokens.ts';
import { behindPrefix, findTokens, withoutCookie, withoutParameter } from '../../../core/policy/find-tokens.ts';
import type { HttpRequest, Token } from '../../../core/policy/model.ts';
import { DEFAULT_DENY } from '../../../core/policy/model.ts';
import { claimsForRules, outputsOf } from '../../../core/policy/token-output.ts';
import { canonical } from '../../../core/policy/token-places.ts';
import type { UserTokenRule, UserTokenRules } from '../../../core/policy/user-token-rules.ts';
import { claimedIssuer } from '../../../core/policy/verify-user-token.ts';
import type { Call } from '../enforce.ts';
import type { PolicyState } from '../policy-state.ts';
import type { Problem } from '../problem.ts';
import type { GoodUserToken, UserTokenVerifier } from '../user-tokens.ts';
import { headersOf } from './http-request.ts';
import type { RequestChanges } from './request-changes.ts';
import { changedFields } from './request-changes.ts';

/** What the token of an end user says about a call, and what becomes of the request. */
export type UserTokenCheck =
  | {
      readonly ok: true;
      /** Absent for a call without one. */
      readonly token: Token | undefined;
      /** `<issuer>/<subject>`; '' for a call without a token. */
      readonly subject: string;
      /** Without a token in its query that is not to be forwarded. */
      readonly target: string;
      readonly changes: RequestChanges | undefined;
    }
  | { readonly ok: false; readonly rule: string; readonly problem: Problem };

/**
 * Verifies the tokens of end users (reference: rule 49). A call without one goes on as it is; one that is not good ends it.
 * Several different ones end it too: which of them the application means, nobody knows here.
 *
 * Fields that say what a token said never come from the caller. A JWT-SVID in `Authorization` has been looked at before.
 *
 * @param target normalised, with its query
 */
export function checkUserToken(
  call: Call,
  target: string,
  state: PolicyState,
  verifier: UserTokenVerifier,
): UserTokenCheck | Promise<UserTokenCheck> {
  const rules = state.userTokens;
  if (rules === undefined) return { ok: true, token: undefined, subject: '', target, changes: undefined };
  const remove = namesOf(call.fields, (name) => rules.outputs.has(name));
  const found = isPreflight(call) ? [] : findTokens(rules.places, call.fields, target).filter(isOfUser(state));
  const [first] = found;
  if (first === undefined) {
    const changes = rules.outputs.size === 0 ? undefined : { remove, set: [], append: [], withheld: rules.outputs };
    return { ok: true, token: undefined, subject: '', target, changes };
  }
  if (found.some(({ text }) => text !== first.text))
    return refusal(first.rules[0], 'It carries several tokens, which are not the same.');
  return verifyAll(found, first.text, verifier).then((good) =>
    good === undefined ? refusal(firstRuleOf(first), NOT_GOOD) : admitted(call, target, rules, found, good, remove),
  );
}

/** What rules see of a request once the tokens in it have been looked at; that of an end user goes before a JWT-SVID. */
export function seenByRules(
  call: Call,
  http: HttpRequest,
  user: Extract<UserTokenCheck, { ok: true }>,
  o: { readonly svid: Token | undefined; readonly wanted: readonly string[] },
): { readonly http: HttpRequest; readonly fields: readonly string[] } {
  const token = user.token ?? o.svid;
  const fields = changedFields(call.fields, user.changes);
  const headers = user.changes === undefined ? http.headers : headersOf(fields, o.wanted);
  return { http: { ...http, ...(headers && { headers }), ...(token !== undefined && { token }) }, fields };
}

const NOT_GOOD =
  'The token of the end user is not valid here: not signed by an issuer that is accepted, for another audience, or expired.';

/** In each place in which it stands, it must be good for that place. What comes of it is said by the first. */
async function verifyAll(
  found: readonly FoundToken[],
  text: string,
  verifier: UserTokenVerifier,
): Promise<GoodUserToken | undefined> {
  const issuer = claimedIssuer(text);
  if (issuer === undefined) return undefined;
  let first: GoodUserToken | undefined;
  for (const { rules } of found) {
    const good = await verifier.verify(
      text,
      rules.filter(({ rule }) => rule.issuer === issuer),
    );
    if (good === undefined) return undefined;
    first ??= good;
  }
  return first;
}

function admitted(
  call: Call,
  target: string,
  rules: UserTokenRules,
  found: readonly FoundToken[],
  { by, token }: GoodUserToken,
  callersOutputs: readonly string[],
): UserTokenCheck {
  const { rule } = by;
  const stripped = rule.forwardOriginalToken ? { target, remove: [], append: [] } : strip(call.fields, target, found);
  // Also where they are spelled otherwise than in the rule.
  const isOutput = ([name]: readonly [string, string]) => rules.outputs.has(canonical(name));
  return {
    ok: true,
    token: { trustDomain: '', claims: claimsForRules(token, rule) },
    subject: `${token.issuer}/${token.subject}`,
    target: stripped.target,
    changes: {
      remove: [...callersOutputs, ...stripped.remove],
      set: outputsOf(token, rule),
      append: stripped.append.filter((field) => !isOutput(field)),
      withheld: rules.outputs,
    },
  };
}

interface Stripped {
  readonly target: string;
  readonly remove: readonly string[];
  readonly append: readonly (readonly [string, string])[];
}

/** Takes a token out of every place in which it was found. */
function strip(fields: readonly string[], target: string, found: readonly FoundToken[]): Stripped {
  let left = target;
  const headers: { readonly name: string; readonly prefix: string }[] = [];
  const cookies: string[] = [];
  for (const { place } of found) {
    switch (place.in) {
      case 'header':
        headers.push(place);
        break;
      case 'parameter':
        left = withoutParameter(left, place.name);
        break;
      case 'cookie':
        cookies.push(place.name);
        break;
      default:
        unreachable(place);
    }
  }
  const touched = new Set([...headers.map(({ name }) => name), ...(cookies.length > 0 ? ['cookie'] : [])]);
  const append: (readonly [string, string])[] = [];
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const name = (fields[i] ?? '').toLowerCase();
    const key = canonical(name);
    if (!touched.has(key)) continue;
    const value = fields[i + 1] ?? '';
    if (key === 'cookie' && cookies.length > 0) {
      const rest = cookies.reduce(withoutCookie, value);
      if (rest !== '') append.push([name, rest]);
    } else if (!headers.some((header) => header.name === key && (behindPrefix(value, header.prefix) ?? '') !== '')) {
      append.push([name, value]);
    }
  }
  return { target: left, remove: namesOf(fields, (name) => touched.has(name)), append: joinCookies(append) };
}

/** HTTP/1.1 has one field of cookies (RFC 6265 §5.4). */
function joinCookies(fields: readonly (readonly [string, string])[]): readonly (readonly [string, string])[] {
  const cookies = fields.filter(([name]) => name === 'cookie').map(([, value]) => value);
  if (cookies.length < 2) return fields;
  return [...fields.filter(([name]) => name !== 'cookie'), ['cookie', cookies.join('; ')]];
}

/** Names as they stand there, in lower case, once each. */
function namesOf(fields: readonly string[], wanted: (canonicalName: string) => boolean): readonly string[] {
  const names = new Set<string>();
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const name = (fields[i] ?? '').toLowerCase();
    if (wanted(canonical(name))) names.add(name);
  }
  return [...names];
}

/** A JWT-SVID of a trust domain that is trusted is no end user's, where `checkJwtSvid` has looked. */
function isOfUser({ bundle, federated }: PolicyState): (found: FoundToken) => boolean {
  return ({ place, text }) =>
    place.in !== 'header' ||
    place.name !== 'authorization' ||
    ![bundle, ...federated].some(({ trustDomain }) => claimsJwtSvid(text, trustDomain));
}

/** Browsers send no credentials along with one (Fetch §3.2), and what they are told is no secret. */
function isPreflight({ method, fields }: Call): boolean {
  if (method !== 'OPTIONS') return false;
  const has = (wanted: string) => fields.some((name, i) => i % 2 === 0 && name.toLowerCase() === wanted);
  return has('origin') && has('access-control-request-method');
}

/** For the record: the rule of the issuer that the token names, else the first whose token it could be. */
function firstRuleOf({ text, rules }: FoundToken): UserTokenRule | undefined {
  const issuer = claimedIssuer(text);
  return rules.find(({ rule }) => rule.issuer === issuer) ?? rules[0];
}

function refusal(rule: UserTokenRule | undefined, detail: string): UserTokenCheck {
  const id = rule?.id ?? DEFAULT_DENY;
  const problem = { status: 401, code: 'token-refused', reason: 'token-refused', rule: id, detail } as const;
  return { ok: false, rule: id, problem };
}
