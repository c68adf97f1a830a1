import type { ServiceError } from '@grpc/grpc-js';
import { AppError } from '../../../base/errors.ts';
import { fromServiceError } from '../../../wire/errors.ts';
import type { IdentityClient as IdentityStub } from '../../../wire/gen/writ/v1/Identity.ts';
import type { SignWitResponse__Output } from '../../../wire/gen/writ/v1/SignWitResponse.ts';
import type { SignX509Response__Output } from '../../../wire/gen/writ/v1/SignX509Response.ts';
import type { IssuedCertificate, IssuedToken } from '../../../wire/identity.ts';
import type { ItemResult, SignItem } from '../../../wire/identity-sign.ts';
import * as sign from '../../../wire/identity-sign.ts';

/** What a workload waits for. */
const TOKEN_TIMEOUT_MS = 5_000;
const CERTIFICATE_TIMEOUT_MS = 15_000;

type Callback<Response> = (error: ServiceError | null, response?: Response) => void;

/** One request, one answer per item. Rejects with an AppError when the call failed as a whole. */
export function signX509(
  identity: IdentityStub,
  items: readonly SignItem[],
): Promise<readonly ItemResult<IssuedCertificate>[]> {
  return call(
    CERTIFICATE_TIMEOUT_MS,
    (options, callback) => identity.signX509(sign.toSignX509Request(items), options, callback),
    (response: SignX509Response__Output) => sign.fromSignX509Response(response, items.length),
  );
}

export function signWit(
  identity: IdentityStub,
  items: readonly SignItem[],
): Promise<readonly ItemResult<IssuedToken>[]> {
  return call(
    TOKEN_TIMEOUT_MS,
    (options, callback) => identity.signWit(sign.toSignWitRequest(items), options, callback),
    (response: SignWitResponse__Output) => sign.fromSignWitResponse(response, items.length),
  );
}

export function signJwt(identity: IdentityStub, order: sign.SignJwtOrder): Promise<IssuedToken> {
  return call(
    TOKEN_TIMEOUT_MS,
    (options, callback) => identity.signJwt(sign.toSignJwtRequest(order), options, callback),
    sign.fromSignJwtResponse,
  );
}

function call<Response, Value>(
  timeoutMs: number,
  make: (options: { readonly deadline: number }, callback: Callback<Response>) => unknown,
  read: (response: Response) => Value,
): Promise<Value> {
  return new Promise((resolve, reject) => {
    // The library takes a deadline by the machine's own clock.
    make({ deadline: Date.now() + timeoutMs }, (error, response) => {
      if (error !== null) return reject(fromServiceError(error));
      try {
        if (response === undefined) throw new AppError('unavailable', 'The control plane sent no answer.');
        resolve(read(response));
      } catch (cause) {
        reject(cause);
      }
    });
  });
}
