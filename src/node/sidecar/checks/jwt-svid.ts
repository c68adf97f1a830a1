import type { Token } from '../../../core/policy/model.ts';
import type { PolicyState } from '../policy-state.ts';
import type { TokenVerifier } from '../token.ts';

/** A JWT-SVID that came with a call. */
export type JwtSvidCheck =
  | { readonly ok: true; readonly subject: string; readonly token: Token | undefined }
  /** One is there, and is not good. */
  | { readonly ok: false };

const nothing: JwtSvidCheck = Object.freeze({ ok: true, subject: '', token: undefined });

/**
 * Verifies a JWT-SVID in `Authorization`. The trust domain that it claims chooses the one bundle that verifies it; one of a
 * trust domain that is not trusted, like any other token, is the application's own business.
 *
 * Of a federated trust domain it says whose it is and for whom. That is all such a trust domain is believed: with `iss` it could
 * speak for an issuer whose users policies name, with other claims say which of our groups its workloads are in.
 */
export function checkJwtSvid(
  authorization: string | undefined,
  state: PolicyState,
  tokens: TokenVerifier,
): JwtSvidCheck | Promise<JwtSvidCheck> {
  if (authorization === undefined) return nothing;
  const bundle = [state.bundle, ...state.federated].find((each) => tokens.find(authorization, each.trustDomain));
  const token = bundle === undefined ? undefined : tokens.find(authorization, bundle.trustDomain);
  if (bundle === undefined || token === undefined) return nothing;
  const { trustDomain } = bundle;
  const believed = bundle === state.bundle ? (claims: Claims) => claims : onlyStandardClaims;
  return tokens
    .verify(token, bundle)
    .then((good) =>
      good === undefined
        ? { ok: false }
        : { ok: true, subject: good.subject, token: { trustDomain, claims: believed(good.claims) } },
    );
}

type Claims = Readonly<Record<string, unknown>>;

/** JWT-SVID.md §3, and the times and the name of the token itself. */
const standardClaims = ['sub', 'aud', 'exp', 'nbf', 'iat', 'jti'] as const;

function onlyStandardClaims(claims: Claims): Claims {
  const present = standardClaims.filter((name) => Object.hasOwn(claims, name));
  return Object.fromEntries(present.map((name) => [name, claims[name]]));
}
