import { AppError } from '../../base/errors.ts';

export type Json = string | number | boolean | null | readonly Json[] | { readonly [name: string]: Json };

/** Claims that Writ sets itself, or leaves out for a reason: an entry cannot. */
export const reservedClaims = ['sub', 'aud', 'exp', 'iat', 'nbf', 'iss', 'jti', 'cnf'] as const;

export const MAX_CLAIMS = 32;
export const MAX_CLAIM_NAME_LENGTH = 128;
/** All of them as JSON: a token travels in a header. */
export const MAX_CLAIMS_LENGTH = 4096;
const MAX_DEPTH = 8;
const variable = /\{\{(.*?)\}\}/gs;

export interface ClaimsProblem {
  /** Name of the claim; undefined: all together. */
  readonly claim: string | undefined;
  /** Reads on after the name: 'must …'. */
  readonly message: string;
}

/**
 * What is wrong with the claims of an entry.
 *
 * @param variables those of its template: no value of any other will be there when a token is signed
 */
export function problemsOfClaims(
  claims: Readonly<Record<string, Json>>,
  variables: readonly string[],
): readonly ClaimsProblem[] {
  const names = Object.keys(claims);
  if (names.length > MAX_CLAIMS) return [{ claim: undefined, message: `must have at most ${MAX_CLAIMS} members` }];
  if (isDeep(claims, MAX_DEPTH)) return [{ claim: undefined, message: `must be at most ${MAX_DEPTH} levels deep` }];
  if (JSON.stringify(claims).length > MAX_CLAIMS_LENGTH) {
    return [{ claim: undefined, message: `must be at most ${MAX_CLAIMS_LENGTH} characters as JSON` }];
  }
  return names.flatMap((claim) => {
    const message = problemOf(claim, claims[claim] ?? null, variables);
    return message === undefined ? [] : [{ claim, message }];
  });
}

/**
 * The claims of a token: variables in strings, at any depth, replaced by their values.
 *
 * @param variables as `resolveTemplate` accepted them
 * @throws AppError `forbidden` for a variable without a value
 */
export function resolveClaims(
  claims: Readonly<Record<string, Json>>,
  variables: Readonly<Record<string, string>>,
): Readonly<Record<string, Json>> {
  return Object.freeze(
    Object.fromEntries(Object.entries(claims).map(([name, value]) => [name, resolve(value, variables)])),
  );
}

function resolve(value: Json, variables: Readonly<Record<string, string>>): Json {
  if (typeof value === 'string') {
    return value.replace(variable, (_, name: string) => {
      const found = Object.hasOwn(variables, name) ? variables[name] : undefined;
      if (found === undefined) throw new AppError('forbidden', 'A claim of the entry has a variable without a value.');
      return found;
    });
  }
  if (typeof value !== 'object' || value === null) return value;
  if (isList(value)) return value.map((item) => resolve(item, variables));
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, resolve(member, variables)]));
}

function problemOf(name: string, value: Json, variables: readonly string[]): string | undefined {
  if ((reservedClaims as readonly string[]).includes(name)) {
    return `is reserved, as are ${reservedClaims.filter((claim) => claim !== name).join(', ')}`;
  }
  if (name === '' || name.length > MAX_CLAIM_NAME_LENGTH || /\p{Cc}/u.test(name)) {
    return `must have a name of 1 to ${MAX_CLAIM_NAME_LENGTH} characters without control characters`;
  }
  const strange = [...stringsOf(value)]
    .flatMap((text) => [...text.matchAll(variable)].map((match) => match[1] ?? ''))
    .find((found) => !variables.includes(found));
  if (strange !== undefined)
    return `must have only variables of the SPIFFE ID, and {{${strange.slice(0, 64)}}} is none`;
  return undefined;
}

function* stringsOf(value: Json): Generator<string> {
  if (typeof value === 'string') yield value;
  else if (typeof value === 'object' && value !== null)
    for (const member of Object.values(value)) yield* stringsOf(member);
}

function isDeep(value: Json, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (levels === 0) return true;
  return Object.values(value).some((member) => isDeep(member as Json, levels - 1));
}

function isList(value: Json): value is readonly Json[] {
  return Array.isArray(value);
}
