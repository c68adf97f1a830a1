import { X509Certificate } from 'node:crypto';
import type { ExternalAuthorizer } from '../core/policy/snapshot.ts';
import { isLoopbackAddress } from '../core/policy/snapshot.ts';
import * as field from './fields.ts';
import type {
  ExternalAuthorizer__Output,
  ExternalAuthorizer as ProtoAuthorizer,
} from './gen/writ/v1/ExternalAuthorizer.ts';
import { fromDuration, toDuration } from './rate-limit.ts';

const MAX_AUTHORIZERS = 64;
const MAX_TIMEOUT_MS = 60_000;
const MAX_CA_LENGTH = 256 * 1024;

export function toExternalAuthorizer(authorizer: ExternalAuthorizer): ProtoAuthorizer {
  return {
    name: authorizer.name,
    address: authorizer.address,
    timeout: toDuration(authorizer.timeoutMs),
    ca: authorizer.ca ?? '',
    maxBodyBytes: authorizer.maxBodyBytes,
  };
}

/** Each by another name: of two with the same one, nobody could say who is asked. */
export function fromExternalAuthorizers(
  messages: readonly ExternalAuthorizer__Output[],
  path: string,
): readonly ExternalAuthorizer[] {
  const authorizers = field.list(messages, path, fromExternalAuthorizer, { max: MAX_AUTHORIZERS });
  if (new Set(authorizers.map(({ name }) => name)).size < authorizers.length) {
    throw field.invalid(path, 'has two of one name');
  }
  return authorizers;
}

function fromExternalAuthorizer(message: ExternalAuthorizer__Output, path: string): ExternalAuthorizer {
  const address = field.address(message.address, `${path}.address`);
  if (message.ca === '' && !isLoopbackAddress(address)) {
    throw field.invalid(`${path}.ca`, 'is missing, and calls in plain text stay on this machine');
  }
  // What is not sent would be decided on without being seen.
  if (message.maxBodyBytes !== 0) throw field.invalid(`${path}.max_body_bytes`, 'is not 0: bodies are not sent along');
  return Object.freeze({
    name: field.text(message.name, `${path}.name`, 253),
    address,
    timeoutMs: fromDuration(message.timeout, `${path}.timeout`, MAX_TIMEOUT_MS),
    ...(message.ca !== '' && { ca: fromCa(message.ca, `${path}.ca`) }),
    maxBodyBytes: message.maxBodyBytes,
  });
}

/** PEM that cannot be read would leave out a CA, or trust those of the system instead. */
function fromCa(pem: string, path: string): string {
  const certificates = field
    .text(pem, path, MAX_CA_LENGTH)
    .match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g);
  if (certificates === null) throw field.invalid(path, 'holds no certificate');
  for (const certificate of certificates) {
    try {
      new X509Certificate(certificate);
    } catch {
      throw field.invalid(path, 'holds a certificate that cannot be read');
    }
  }
  return pem;
}
