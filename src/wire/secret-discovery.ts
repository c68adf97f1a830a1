import type { CertificateValidationContext } from './gen/envoy/extensions/transport_sockets/tls/v3/CertificateValidationContext.ts';
import type { Secret, Secret__Output } from './gen/envoy/extensions/transport_sockets/tls/v3/Secret.ts';
import type { SPIFFECertValidatorConfig } from './gen/envoy/extensions/transport_sockets/tls/v3/SPIFFECertValidatorConfig.ts';
import type {
  SecretDiscoveryServiceClient,
  SecretDiscoveryServiceDefinition,
} from './gen/envoy/service/secret/v3/SecretDiscoveryService.ts';
import { secretDiscoveryFiles } from './proto-files.ts';
import { Protocol } from './protocol.ts';

/** Envoy's Secret Discovery Service, v3, and the secrets that it carries. */

const protocol = new Protocol(secretDiscoveryFiles);
const TLS = 'envoy.extensions.transport_sockets.tls.v3';

export const SECRET_TYPE_URL = `type.googleapis.com/${TLS}.Secret`;

export const secretDiscoveryService = protocol.service<SecretDiscoveryServiceDefinition>(
  'envoy.service.secret.v3.SecretDiscoveryService',
);
export const SecretDiscoveryClient = protocol.client<SecretDiscoveryServiceClient>(
  'SecretDiscoveryService',
  secretDiscoveryService,
);

export const secretCodec = protocol.codec<Secret, Secret__Output>(`${TLS}.Secret`);
const validatorCodec = protocol.codec<SPIFFECertValidatorConfig, object>(`${TLS}.SPIFFECertValidatorConfig`);

/** One secret, serialised as it travels in an Any. All PEM. */
export function certificateSecret(name: string, o: { readonly chainPem: string; readonly keyPem: string }): Buffer {
  return secretCodec.encode({
    name,
    tlsCertificate: {
      certificateChain: { inlineBytes: Buffer.from(o.chainPem) },
      privateKey: { inlineBytes: Buffer.from(o.keyPem) },
    },
  });
}

/** Roots that are trusted whoever the peer says it is: for Envoys older than its SPIFFE validator. */
export function rootsSecret(name: string, rootsPem: string): Buffer {
  return secretCodec.encode({ name, validationContext: { trustedCa: { inlineBytes: Buffer.from(rootsPem) } } });
}

/** Roots by trust domain: Envoy picks those of the trust domain that the peer's certificate names. Sorted by name. */
export function spiffeValidatorSecret(name: string, rootsPem: ReadonlyMap<string, string>): Buffer {
  const trustDomains = [...rootsPem]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([trustDomain, pem]) => ({ name: trustDomain, trustBundle: { inlineBytes: Buffer.from(pem) } }));
  const validationContext: CertificateValidationContext = {
    customValidatorConfig: {
      name: 'envoy.tls.cert_validator.spiffe',
      typedConfig: {
        type_url: `type.googleapis.com/${TLS}.SPIFFECertValidatorConfig`,
        value: validatorCodec.encode({ trustDomains }),
      },
    },
  };
  return secretCodec.encode({ name, validationContext });
}
