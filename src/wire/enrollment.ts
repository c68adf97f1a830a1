import { unreachable } from '../base/errors.ts';
import type { TrustBundle } from '../core/identity/bundle.ts';
import { MAX_CSR_BYTES } from '../core/identity/csr.ts';
import * as field from './fields.ts';
import type { AttestRequest, AttestRequest__Output } from './gen/writ/v1/AttestRequest.ts';
import type { AttestResponse, AttestResponse__Output } from './gen/writ/v1/AttestResponse.ts';
import type { EntryView, IssuedCertificate } from './identity.ts';
import { fromCertificate, fromEntry, fromTrustBundle, toCertificate, toEntry, toTrustBundle } from './identity.ts';

const MAX_PAYLOAD_BYTES = 16 * 1024;

export interface AttestBegin {
  /** How the caller proves what it is: `join_token`, `x509pop`, `k8s_psat`, `oidc`. */
  readonly method: string;
  readonly payload: Buffer;
  /** PKCS #10, DER. */
  readonly csr: Buffer;
  /** It asks for the identity of an agent, or else for that of a workload. */
  readonly agent: boolean;
}

export interface AttestResult {
  readonly certificate: IssuedCertificate;
  readonly bundle: TrustBundle;
  /** Absent for an agent. */
  readonly entry?: EntryView;
}

export type AttestStep =
  | { readonly kind: 'begin'; readonly begin: AttestBegin }
  | { readonly kind: 'challenge-response'; readonly response: Buffer };

export type AttestReply =
  | { readonly kind: 'challenge'; readonly challenge: Buffer }
  | { readonly kind: 'result'; readonly result: AttestResult };

export function toAttestRequest(begin: AttestBegin): AttestRequest {
  const { method, payload, csr, agent } = begin;
  return { begin: { method, payload, csr, agent } };
}

export function toChallengeResponse(response: Buffer): AttestRequest {
  return { challengeResponse: response };
}

export function fromAttestRequest(message: AttestRequest__Output): AttestStep {
  switch (message.step) {
    case 'begin': {
      const begin = field.required(message.begin, 'begin');
      return {
        kind: 'begin',
        begin: Object.freeze({
          method: field.text(begin.method, 'begin.method', 64),
          payload: field.bytes(begin.payload, 'begin.payload', { min: 1, max: MAX_PAYLOAD_BYTES }),
          csr: field.bytes(begin.csr, 'begin.csr', { min: 1, max: MAX_CSR_BYTES }),
          agent: begin.agent,
        }),
      };
    }
    case 'challengeResponse': {
      const response = field.required(message.challengeResponse, 'challenge_response');
      return {
        kind: 'challenge-response',
        response: field.bytes(response, 'challenge_response', { min: 1, max: MAX_PAYLOAD_BYTES }),
      };
    }
    case undefined:
      throw field.invalid('step', 'is missing');
    default:
      return unreachable(message.step);
  }
}

export function toAttestResponse(result: AttestResult): AttestResponse {
  return {
    result: {
      certificate: toCertificate(result.certificate),
      bundle: toTrustBundle(result.bundle),
      ...(result.entry !== undefined && { entry: toEntry(result.entry) }),
    },
  };
}

export function toChallenge(challenge: Buffer): AttestResponse {
  return { challenge };
}

export function fromAttestResponse(message: AttestResponse__Output): AttestReply {
  switch (message.step) {
    case 'challenge': {
      const challenge = field.required(message.challenge, 'challenge');
      return { kind: 'challenge', challenge: field.bytes(challenge, 'challenge', { min: 1, max: MAX_PAYLOAD_BYTES }) };
    }
    case 'result': {
      const result = field.required(message.result, 'result');
      return {
        kind: 'result',
        result: Object.freeze({
          certificate: fromCertificate(result.certificate, 'result.certificate'),
          bundle: fromTrustBundle(result.bundle, 'result.bundle'),
          ...(result.entry !== null && { entry: fromEntry(result.entry, 'result.entry') }),
        }),
      };
    }
    case undefined:
      throw field.invalid('step', 'is missing');
    default:
      return unreachable(message.step);
  }
}
