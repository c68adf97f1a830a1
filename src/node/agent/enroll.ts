import type { ClientDuplexStream, ClientUnaryCall, ServiceError } from '@grpc/grpc-js';
import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import type { AttestResult } from '../../wire/enrollment.ts';
import { fromAttestResponse, toAttestRequest, toChallengeResponse } from '../../wire/enrollment.ts';
import { fromServiceError } from '../../wire/errors.ts';
import type { AttestRequest } from '../../wire/gen/writ/v1/AttestRequest.ts';
import type { AttestResponse__Output } from '../../wire/gen/writ/v1/AttestResponse.ts';
import type { IssuedCertificate } from '../../wire/identity.ts';
import { fromRenewResponse, toRenewRequest } from '../../wire/identity.ts';
import { clients } from '../../wire/loader.ts';
import type { Proof } from './attest-node/proof.ts';
import type { Trust } from './bootstrap.ts';
import { bootstrapTrust } from './bootstrap.ts';
import { channelOptions, controlPlaneCredentials } from './control-plane-tls.ts';
import type { Svid } from './svid.ts';

export interface AttestationRequest {
  readonly method: string;
  readonly proof: Proof;
  readonly csr: Buffer;
  /** For the identity of an agent, or else of a workload. */
  readonly agent: boolean;
  /** What is held from before, as long as it is valid: whoever shows it stays the instance that it is. */
  readonly current?: { readonly svid: Svid; readonly bundle: TrustBundle } | undefined;
}

/** Where a node gets its certificates from. */
export interface IdentitySource {
  /** The first one, or another one for what can prove itself again. */
  attest(request: AttestationRequest): Promise<AttestResult>;
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
    async attest(request) {
      const bundle = await trustFor(o, request);
      // Nothing is sent before the server has been verified: see controlPlaneCredentials.
      const credentials = controlPlaneCredentials({ bundle, svid: request.current?.svid, clock });
      const client = new clients.Enrollment(server, credentials, channelOptions);
      try {
        return await converse(client.attest({ deadline: Date.now() + CALL_TIMEOUT_MS }), request, bundle.trustDomain);
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

/**
 * What was pinned when this node was set up; when the control plane is not below it any more, the bundle that was followed
 * since: roots are exchanged, pins are not.
 */
async function trustFor(
  o: { readonly server: string; readonly trust: Trust; readonly clock: Clock },
  { current }: AttestationRequest,
): Promise<TrustBundle> {
  try {
    return await bootstrapTrust(o);
  } catch (error) {
    if (current === undefined || !(error instanceof AppError) || error.code !== 'peer-refused') throw error;
    return current.bundle;
  }
}

/** begin, questions and answers, result. */
function converse(
  call: ClientDuplexStream<AttestRequest, AttestResponse__Output>,
  { method, proof, csr, agent }: AttestationRequest,
  trustDomain: string,
): Promise<AttestResult> {
  return new Promise((resolve, reject) => {
    call.on('error', (error: ServiceError) => reject(fromServiceError(error)));
    call.on('data', (message: AttestResponse__Output) => {
      try {
        const reply = fromAttestResponse(message);
        if (reply.kind === 'result') {
          resolve(reply.result);
          call.end();
          return;
        }
        if (proof.answer === undefined) throw new AppError('invalid', `${method} is not challenged.`);
        call.write(toChallengeResponse(proof.answer(reply.challenge, { trustDomain, csr })));
      } catch (error) {
        reject(error);
        call.cancel();
      }
    });
    call.on('end', () => reject(new AppError('unavailable', 'The control plane ended the attestation.')));
    call.write(toAttestRequest({ method, payload: proof.payload, csr, agent }));
  });
}
