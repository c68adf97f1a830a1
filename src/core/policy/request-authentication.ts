import type { Target } from './model.ts';

/** Which tokens of end users a workload accepts (Istio's RequestAuthentication). Frozen values only. */
export interface RequestAuthentication {
  readonly namespace: string;
  readonly name: string;
  /** As of a policy. */
  readonly revision: number;
  readonly selector: Readonly<Record<string, string>>;
  readonly targets?: readonly Target[];
  readonly rules: readonly JwtRule[];
}

/** Tokens of one issuer. */
export interface JwtRule {
  /** Equal to the token's `iss`. */
  readonly issuer: string;
  /** Any of them is in the token's `aud`; none: not checked. */
  readonly audiences: readonly string[];
  /** A JSON Web Key Set, as JSON. Absent where `jwksUri` or the issuer's discovery document says where it is. */
  readonly jwks?: string;
  readonly jwksUri?: string;
  /** Of one fetch of the keys, in milliseconds. */
  readonly timeoutMs: number;
  /** Where a token is looked for; with none of the three, `Authorization: Bearer`, then the query `access_token`. */
  readonly fromHeaders: readonly JwtHeader[];
  readonly fromParams: readonly string[];
  readonly fromCookies: readonly string[];
  /** False: the token is taken out of the request that is forwarded. */
  readonly forwardOriginalToken: boolean;
  readonly outputPayloadToHeader?: string;
  readonly outputClaims: readonly ClaimToHeader[];
  /** Text claims that are lists with blanks between them, beside `scope` and `permission`. */
  readonly spaceDelimitedClaims: readonly string[];
}

export interface JwtHeader {
  readonly name: string;
  /** What stands before the token, with its blank. */
  readonly prefix: string;
}

export interface ClaimToHeader {
  readonly header: string;
  readonly claim: string;
}
