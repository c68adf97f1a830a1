import type { JwtRule } from './request-authentication.ts';
import type { UserToken } from './verify-user-token.ts';

/** Beside those that a rule names (reference: rule 15). They are cut where rules look at them. */
export function claimsForRules({ claims }: UserToken, rule: JwtRule): Readonly<Record<string, unknown>> {
  const cut = rule.spaceDelimitedClaims.filter((name) => typeof ownOf(claims, name) === 'string');
  if (cut.length === 0) return claims;
  const lists = cut.map((name) => [name, String(claims[name]).split(' ').filter(Boolean)] as const);
  return Object.freeze({ ...claims, ...Object.fromEntries(lists) });
}

/** What the application is told of a token, as fields of the request. */
export function outputsOf(token: UserToken, rule: JwtRule): readonly (readonly [name: string, value: string])[] {
  const payload = rule.outputPayloadToHeader;
  const claims = rule.outputClaims.flatMap(({ header, claim }) => {
    const value = fieldValue(claimAt(token.claims, claim));
    return value === undefined ? [] : [[header, value] as const];
  });
  return [...(payload === undefined ? [] : [[payload, token.payload] as const]), ...claims];
}

/** A claim of that name, or one inside of others with dots between their names. */
function claimAt(claims: Readonly<Record<string, unknown>>, name: string): unknown {
  const whole = ownOf(claims, name);
  if (whole !== undefined) return whole;
  return name.split('.').reduce<unknown>((value, part) => ownOf(value, part), claims);
}

function ownOf(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || !Object.hasOwn(value, name))
    return undefined;
  return (value as Readonly<Record<string, unknown>>)[name];
}

/**
 * Texts, numbers and booleans, as Istio passes them on; undefined for anything else, and for a text that could become more
 * than one field, or another text on its way. Users choose what some claims say. As UTF-8, byte by byte.
 */
function fieldValue(value: unknown): string | undefined {
  if (typeof value === 'boolean' || (typeof value === 'number' && Number.isFinite(value))) return String(value);
  if (typeof value !== 'string' || value === '' || !value.isWellFormed()) return undefined;
  if (/\p{Cc}/u.test(value) || value.trim() !== value) return undefined;
  return Buffer.from(value, 'utf8').toString('latin1');
}
