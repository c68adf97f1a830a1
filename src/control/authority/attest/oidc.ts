import type { JWTPayload } from 'jose';
import type { Clock } from '../../../base/clock.ts';
import { AppError } from '../../../base/errors.ts';
import type { Attestation, Attested, Attestor } from './method.ts';
import type { TokenIssuer } from './token.ts';
import { claimedIssuer, verifyToken } from './token.ts';

/** An OpenID provider whose tokens prove what a job or function is: GitHub Actions, GitLab CI, a cloud. */
export interface OidcProvider extends TokenIssuer {
  /** Part of the selectors: `oidc:<name>:<claim>:<value>`. */
  readonly name: string;
  /**
   * Claims and the values that they may have; all must hold, and there is at least one, since everybody can be a customer of a
   * public provider. A value that ends in `*` stands for all that begin so; a claim that is a list must hold one of them.
   */
  readonly conditions: ReadonlyMap<string, readonly string[]>;
}

const MAX_CLAIMS = 64;
const MAX_VALUES = 32;
const MAX_VALUE_LENGTH = 400;
/** No colon: the selector of `a:b` with the value `c` would be that of `a` with the value `b:c`. */
const claimName = /^[A-Za-z0-9_./-]{1,100}$/;
/** New in each token. */
const passing: readonly string[] = ['exp', 'iat', 'nbf', 'jti'];

/**
 * A token of an OpenID provider (attestation method `oidc`): workloads get their identity without an agent. The payload is the
 * token, UTF-8.
 *
 * A token is good until it expires, for whoever holds it: let it be short-lived, and its audience be ours alone.
 */
export class OidcAttestor implements Attestor {
  readonly method = 'oidc';
  readonly #providers: readonly OidcProvider[];
  readonly #clock: Pick<Clock, 'now'>;

  constructor(options: { readonly providers: readonly OidcProvider[]; readonly clock: Pick<Clock, 'now'> }) {
    this.#providers = options.providers;
    this.#clock = options.clock;
  }

  /** Throws `invalid`, `forbidden`, `unavailable`. */
  async attest({ payload, agent }: Attestation): Promise<Attested> {
    if (agent)
      throw new AppError('forbidden', 'A token of an OpenID provider proves no machine: agents need another method.');
    const token = payload.toString('utf8');
    const issuer = claimedIssuer(token);
    const candidates = this.#providers.filter((provider) => provider.issuer === issuer);
    if (candidates.length === 0)
      throw new AppError('forbidden', 'The issuer of the token is not one that is trusted here.');
    // Several can have one issuer and differ in what they demand.
    let refusal: unknown;
    for (const provider of candidates) {
      try {
        return await this.#attestWith(provider, token);
      } catch (error) {
        refusal = error;
      }
    }
    throw refusal;
  }

  async #attestWith(provider: OidcProvider, token: string): Promise<Attested> {
    const claims = await verifyToken(token, provider, this.#clock.now());
    for (const [claim, allowed] of provider.conditions) {
      if (!holds(claims, claim, allowed)) {
        throw new AppError(
          'forbidden',
          `The claim ${claim} of the token is not as the provider ${provider.name} demands.`,
        );
      }
    }
    return {
      subject: `oidc:${provider.name}:${(claims.sub ?? '').slice(0, MAX_VALUE_LENGTH)}`,
      selectors: selectorsOf(provider.name, claims),
      canReattest: true,
    };
  }
}

function holds(claims: JWTPayload, claim: string, allowed: readonly string[]): boolean {
  if (!Object.hasOwn(claims, claim)) return false;
  return valuesOf(claims[claim]).some((value) => allowed.some((pattern) => matches(pattern, value)));
}

function matches(pattern: string, value: string): boolean {
  return pattern.endsWith('*') ? value.startsWith(pattern.slice(0, -1)) : value === pattern;
}

function selectorsOf(provider: string, claims: JWTPayload): readonly string[] {
  const names = Object.keys(claims).filter((name) => claimName.test(name) && !passing.includes(name));
  return names
    .slice(0, MAX_CLAIMS)
    .flatMap((name) => valuesOf(claims[name]).map((value) => `oidc:${provider}:${name}:${value}`));
}

/** Texts, truth values and numbers, one or a list of texts; whatever else a claim is, nothing can be said about it. */
function valuesOf(claim: unknown): readonly string[] {
  const values = Array.isArray(claim) ? claim.filter((each) => typeof each === 'string').slice(0, MAX_VALUES) : [claim];
  return values.flatMap((value) => {
    if (typeof value === 'boolean' || (typeof value === 'number' && Number.isFinite(value))) return [String(value)];
    return typeof value === 'string' && isPlain(value) ? [value] : [];
  });
}

function isPlain(value: string): boolean {
  return value !== '' && value.length <= MAX_VALUE_LENGTH && !/\p{C}/u.test(value);
}
