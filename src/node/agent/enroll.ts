import type { ClientUnaryCall, ServiceError } from '@grpc/grpc-js';
import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import type { AttestResult } from '../../wire/enrollment.ts';
import { fromAttestResponse, toAttestRequest } from '../../wire/enrollment.ts';
import { fromServiceError } from '../../wire/errors.ts';
import type { AttestResponse__Output } from '../../wire/gen/writ/v1/AttestResponse.ts';
import type { IssuedCertificate } from '../../wire/identity.ts';
import { fromRenewResponse, toRenewRequest } from '../../wire/identity.ts';
import { clients } from '../../wire/loader.ts';
import type { Trust } from './bootstrap.ts';
import { bootstrapTrust } from './bootstrap.ts';
import { channelOptions, controlPlaneCredentials } from './control-plane-tls.ts';
import type { Svid } from './svid.ts';

/** Where a node gets its certificates from. */
export interface IdentitySource {
  /** The first one, for a join token. A token works once. */
  attest(token: string, csr: Buffer): Promise<AttestResult>;
  /** The next one, for one that is still valid. */
  renew(current: Svid, bundle: TrustBundle, csr: Buffer): Promise<IssuedCertificate>;
}

const CALL_TIMEOUT_MS = 15_000;

/** The control plane's gRPC services. Each call has its own connection: there is one in half an hour. */
export function controlPlaneIdentitySource(o: {
  readonly server: string;
  readonly trust: Trust;
  readonly clock: Clock;
}): IdentitySource {
  const { server, clock } = o;
  return {
    async attest(token, csr) {
      const bundle = await bootstrapTrust(o);
      const credentials = controlPlaneCredentials({ bundle, svid: undefined, clock });
      const client = new clients.Enrollment(server, credentials, channelOptions);
      try {
        return await new Promise((resolve, reject) => {
          // The token travels only on a connection whose server has been verified: see controlPlaneCredentials.
          const call = client.attest({ deadline: Date.now() + CALL_TIMEOUT_MS });
          call.on('error', (error: ServiceError) => reject(fromServiceError(error)));
          call.on('data', (message: AttestResponse__Output) => {
            try {
              const reply = fromAttestResponse(message);
              if (reply.kind === 'challenge') throw new AppError('invalid', 'A join token is not challenged.');
              resolve(reply.result);
            } catch (error) {
              reject(error);
              call.cancel();
            }
          });
          call.on('end', () => reject(new AppError('unavailable', 'The control plane ended the attestation.')));
          call.write(toAttestRequest({ method: 'join_token', payload: Buffer.from(token), csr }));
          call.end();
        });
      } finally {
        client.close();
      }
    },

    async renew(svid, bundle, csr) {
      const client = new clients.Identity(server, controlPlaneCredentials({ bundle, svid, clock }), channelOptions);
      try {
        return await new Promise((resolve, reject) => {
          const options = { deadline: Date.now() + CALL_TIMEOUT_MS };
          const call: ClientUnaryCall = client.renew(toRenewRequest(csr), options, (error, response) => {
            if (error !== null) return reject(fromServiceError(error));
            try {
              if (response === undefined) throw new AppError('unavailable', 'The control plane sent no certificate.');
              resolve(fromRenewResponse(response));
            } catch (cause) {
              reject(cause);
            }
          });
          void call;
        });
      } finally {
        client.close();
      }
    },
  };
}
