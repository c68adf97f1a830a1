import type { KeyObject } from 'node:crypto';
import { createHmac, generateKeyPairSync, sign } from 'node:crypto';
import type { JwtRule, RequestAuthentication } from '../../src/core/policy/request-authentication.ts';

/** An issuer of tokens to end users, with keys of its own: P-256 or RSA. */
export class EndUsers {
  readonly issuer: string;
  readonly kid: string;
  readonly publicKey: KeyObject;
  readonly #privateKey: KeyObject;
  readonly #alg: 'ES256' | 'RS256';

  constructor(o: { readonly issuer?: string; readonly kid?: string; readonly alg?: 'ES256' | 'RS256' } = {}) {
    this.issuer = o.issuer ?? 'https://accounts.example';
    this.kid = o.kid ?? 'k1';
    this.#alg = o.alg ?? 'ES256';
    const pair =
      this.#alg === 'ES256'
        ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
        : generateKeyPairSync('rsa', { modulusLength: 2048 });
    this.publicKey = pair.publicKey;
    this.#privateKey = pair.privateKey;
  }

  get jwk(): Record<string, unknown> {
    return { ...this.publicKey.export({ format: 'jwk' }), kid: this.kid, use: 'sig', alg: this.#alg };
  }

  get jwks(): string {
    return JSON.stringify({ keys: [this.jwk] });
  }

  /** Good for five minutes unless the claims say otherwise; a claim or a header that is undefined is left out. */
  token(claims: Record<string, unknown> = {}, header: Record<string, unknown> = {}): string {
    const now = Math.floor(Date.now() / 1000);
    const payload = { iss: this.issuer, sub: 'alice', aud: 'shop', iat: now, exp: now + 300, ...claims };
    return this.raw(JSON.stringify({ alg: this.#alg, kid: this.kid, typ: 'JWT', ...header }), JSON.stringify(payload));
  }

  /** Signs whatever the two parts say. */
  raw(header: string, payload: string): string {
    const input = `${base64url(header)}.${base64url(payload)}`;
    const signature = sign('sha256', Buffer.from(input), { key: this.#privateKey, dsaEncoding: 'ieee-p1363' });
    return `${input}.${signature.toString('base64url')}`;
  }

  rule(o: Partial<JwtRule> = {}): JwtRule {
    return {
      issuer: this.issuer,
      audiences: [],
      jwks: this.jwks,
      timeoutMs: 5_000,
      fromHeaders: [],
      fromParams: [],
      fromCookies: [],
      forwardOriginalToken: false,
      outputClaims: [],
      spaceDelimitedClaims: [],
      ...o,
    };
  }
}

export function authentication(...rules: JwtRule[]): RequestAuthentication {
  return { namespace: 'shop', name: 'users', revision: 3, selector: {}, rules };
}

/** What attackers send: the public key taken for a secret. */
export function signedWithHmac(header: object, payload: object, secret: string): string {
  const input = `${base64url(JSON.stringify(header))}.${base64url(JSON.stringify(payload))}`;
  return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`;
}

export function base64url(text: string): string {
  return Buffer.from(text, 'utf8').toString('base64url');
}
