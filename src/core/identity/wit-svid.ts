import type { KeyObject } from 'node:crypto';
import type { JWK } from 'jose';
import { decodeJwt, jwtVerify } from 'jose';
import { AppError } from '../../base/errors.ts';
import type { TrustBundle } from './bundle.ts';
import { witKeys } from './bundle.ts';
import type { TokenKey } from './jws.ts';
import { algorithm, keyFor, ownClaims, readHeader, readWorkload, refuse, signCompact } from './jws.ts';
import type { SignedToken } from './jwt-svid.ts';
import { tokenValidity } from './jwt-svid.ts';
import type { KeyKind } from './keys.ts';
import { checkPublicKey } from './keys.ts';
import type { SpiffeId } from './spiffe-id.ts';
import { importTokenKey } from './token-key.ts';

const type = 'wit+jwt';

/** What the workload proves possession with (WIT-SVID.md: `cnf.jwk.alg`). */
const algorithms: Readonly<Record<KeyKind, string>> = { p256: 'ES256', p384: 'ES384', rsa: 'RS256' };

/**
 * Signs a WIT-SVID (WIT-SVID.md): a token that says which key is whose. It is for nobody in particular and proves nothing by
 * itself, so it has no audience; whoever shows it must prove possession of the key in it.
 *
 * @throws AppError `invalid` for an identity without a path, a key that is too weak, or a lifetime below one second
 */
export async function signWitSvid(o: {
  readonly id: SpiffeId;
  /** The workload's: P-256, P-384, or RSA of 2048 to 4096 bits. */
  readonly publicKey: KeyObject;
  readonly kid: string;
  readonly privateKey: TokenKey;
  /** Milliseconds since the epoch. */
  readonly now: number;
  readonly ttlSeconds: number;
  /** Milliseconds since the epoch: an end that this token must not have passed, like that of the key. Default none. */
  readonly notAfter?: number;
  /** Names this token in logs. Never for detecting replays: the token is shown as often as its bearer likes. */
  readonly jti?: string;
}): Promise<SignedToken> {
  if (o.id.path === '') throw new AppError('invalid', 'A trust domain has no WIT-SVID; only its workloads do.');
  const { iat, exp } = tokenValidity(o);
  const claims = {
    sub: o.id.uri,
    iat,
    exp,
    ...(o.jti === undefined ? {} : { jti: o.jti }),
    cnf: { jwk: confirmationKey(o.publicKey) },
  };
  const token = await signCompact({ alg: algorithm, kid: o.kid, typ: type }, claims, o.privateKey);
  const own = ownClaims(token);
  if (own.sub !== o.id.uri || own.exp !== exp || own.aud !== undefined) {
    throw new AppError('internal', 'A WIT-SVID was signed that is not what was asked for.');
  }
  return { token, issuedAt: iat * 1000, expiresAt: exp * 1000 };
}

/**
 * Verifies a WIT-SVID with the keys of its subject's trust domain. No leeway for expiry. That its bearer holds `key` is for
 * the caller to prove: without that, the token says nothing about who sent it.
 *
 * @throws AppError `token-refused`, with one text for every reason; the reason is the `cause`
 */
export async function verifyWitSvid(
  token: string,
  o: {
    readonly bundle: TrustBundle;
    /** Milliseconds since the epoch. */
    readonly now: number;
  },
): Promise<{
  readonly id: SpiffeId;
  readonly key: KeyObject;
  /** The one that possession of `key` is to be proven by, as in the header `alg`. */
  readonly algorithm: string;
  readonly expiresAt: number;
}> {
  try {
    const header = readHeader(token, [type]);
    const subject = readWorkload(decodeJwt(token).sub);
    if (subject.trustDomain !== o.bundle.trustDomain) throw refuse('trust domain');
    const jwk = witKeys(o.bundle).find((key) => key.kid === header.kid);
    if (jwk === undefined) throw refuse('unknown kid');
    const { payload } = await jwtVerify(token, keyFor(header, importTokenKey(jwk)), {
      algorithms: [header.alg],
      currentDate: new Date(o.now),
      clockTolerance: 0,
      requiredClaims: ['sub', 'exp', 'cnf'],
    });
    if (payload.aud !== undefined) throw refuse('aud');
    return Object.freeze({
      id: readWorkload(payload.sub),
      ...readConfirmation(payload.cnf),
      expiresAt: (payload.exp ?? 0) * 1000,
    });
  } catch (cause) {
    throw new AppError('token-refused', 'The WIT-SVID is not valid here.', { cause });
  }
}

function confirmationKey(publicKey: KeyObject): JWK {
  const { kind } = checkPublicKey(publicKey);
  const { kty, crv, x, y, n, e } = publicKey.export({ format: 'jwk' });
  const members = kind === 'rsa' ? { kty, n, e } : { kty, crv, x, y };
  return { ...members, alg: algorithms[kind] } as JWK;
}

/** Attacker-controlled until the signature has been verified, and the workload's choice after that. */
function readConfirmation(cnf: unknown): { readonly key: KeyObject; readonly algorithm: string } {
  if (typeof cnf !== 'object' || cnf === null || !('jwk' in cnf)) throw refuse('cnf');
  const { jwk } = cnf;
  if (typeof jwk !== 'object' || jwk === null) throw refuse('cnf.jwk');
  const { alg } = jwk as JWK;
  if (alg === undefined) throw refuse('cnf.jwk.alg');
  return { key: importTokenKey(jwk as JWK).key, algorithm: alg };
}
