import { Type } from 'typebox';
import type { IssuerKeys } from '../../control/policies/keys/issuer-keys.ts';
import type { KeysState } from '../../control/policies/keys/key-source.ts';
import type { JwtRule, RequestAuthentication } from '../../core/policy/request-authentication.ts';
import { nullable, oneOf, time } from './schemas.ts';
import { toTimeOrNull } from './time.ts';

/** What is known of the keys that a request authentication verifies tokens with. */
export type TokenKeysPort = Pick<IssuerKeys, 'stateOf'>;

const KeysOutput = Type.Object(
  {
    issuer: Type.String(),
    source: Type.String({ description: 'Where they are fetched from; `inline` for those that stand in the document.' }),
    state: oneOf(['fresh', 'stale', 'missing'], {
      description:
        'Stale: the last attempt failed, and the last good keys go on. Missing: there have never been any, and every token of the issuer is refused.',
    }),
    keyIds: Type.Array(Type.String(), { description: 'Of the keys that are in force.' }),
    fetchedAt: nullable(time),
    checkedAt: nullable(time),
    nextAttemptAt: nullable(time),
    lastError: nullable(Type.String()),
  },
  { additionalProperties: false },
);

export const keyStatusSchema = Type.Object(
  { keys: Type.Array(KeysOutput, { description: 'For each of `jwtRules`.' }) },
  { additionalProperties: false, description: 'Of one request authentication.' },
);

export function keyStatus(object: RequestAuthentication, port: TokenKeysPort | undefined) {
  return { keys: object.rules.map((rule) => keysOf(rule, port?.stateOf(rule))) };
}

function keysOf(rule: JwtRule, state: KeysState | undefined) {
  const jwks = state === undefined ? rule.jwks : state.jwks;
  return {
    issuer: rule.issuer,
    source: rule.jwks === undefined ? (rule.jwksUri ?? `${rule.issuer} (discovery)`) : 'inline',
    state:
      jwks === undefined
        ? ('missing' as const)
        : state?.lastError === undefined
          ? ('fresh' as const)
          : ('stale' as const),
    keyIds: jwks === undefined ? [] : keyIdsOf(jwks),
    fetchedAt: toTimeOrNull(state?.fetchedAt ?? null),
    checkedAt: toTimeOrNull(state?.checkedAt ?? null),
    nextAttemptAt: toTimeOrNull(state?.nextAt ?? null),
    lastError: state?.lastError ?? null,
  };
}

/** It has been parsed before it was stored. */
function keyIdsOf(jwks: string): string[] {
  const { keys } = JSON.parse(jwks) as { readonly keys: readonly { readonly kid?: unknown }[] };
  return keys.flatMap(({ kid }) => (typeof kid === 'string' ? [kid] : []));
}
