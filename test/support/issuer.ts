import type { KeyObject } from 'node:crypto';
import { generateKeyPairSync } from 'node:crypto';
import type { JWTHeaderParameters, JWTPayload } from 'jose';
import { exportJWK, SignJWT } from 'jose';

/** A party that signs tokens: an OpenID provider, a Kubernetes cluster. */
export interface TestIssuer {
  readonly issuer: string;
  /** As it is published. */
  readonly jwks: string;
  readonly publicKey: KeyObject;
  /** Issuer, times and key are filled in; what is given wins, and undefined leaves a claim out. */
  sign(claims: Readonly<Record<string, unknown>>, header?: Partial<JWTHeaderParameters>): Promise<string>;
}

/** @param now milliseconds since the epoch, by which its tokens are issued */
export async function testIssuer(issuer: string, now: () => number, kid = 'key-1'): Promise<TestIssuer> {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const jwk = { ...(await exportJWK(publicKey)), kid, use: 'sig', alg: 'RS256' };
  return {
    issuer,
    jwks: JSON.stringify({ keys: [jwk] }),
    publicKey,
    async sign(claims, header = {}) {
      const iat = Math.floor(now() / 1000);
      const all = { iss: issuer, iat, nbf: iat, exp: iat + 600, ...claims };
      const payload = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as JWTPayload;
      return await new SignJWT(payload).setProtectedHeader({ alg: 'RS256', kid, ...header }).sign(privateKey);
    },
  };
}
