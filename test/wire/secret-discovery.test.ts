import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { PackageDefinition } from '@grpc/proto-loader';
import { loadSync } from '@grpc/proto-loader';
import { describe, expect, it } from 'vitest';
import { protoDirectory, secretDiscoveryFiles } from '../../src/wire/proto-files.ts';
import {
  certificateSecret,
  rootsSecret,
  secretCodec,
  secretDiscoveryService,
  spiffeValidatorSecret,
} from '../../src/wire/secret-discovery.ts';

describe('secrets for Envoy', () => {
  it('carry a certificate chain and its key as inline PEM', () => {
    const secret = secretCodec.decode(certificateSecret('default', { chainPem: 'CHAIN', keyPem: 'KEY' }));
    expect(secret.name).toBe('default');
    expect(secret.tlsCertificate?.certificateChain?.inlineBytes?.toString()).toBe('CHAIN');
    expect(secret.tlsCertificate?.privateKey?.inlineBytes?.toString()).toBe('KEY');
  });

  it('carry roots as a trusted authority', () => {
    const secret = secretCodec.decode(rootsSecret('ROOTCA', 'ROOTS'));
    expect(secret.validationContext?.trustedCa?.inlineBytes?.toString()).toBe('ROOTS');
    expect(secret.validationContext?.customValidatorConfig).toBeNull();
  });

  it('carry roots by trust domain, sorted, for the SPIFFE validator', () => {
    const roots = new Map([
      ['b.example', 'B'],
      ['a.example', 'A'],
    ]);
    // Decoded with Envoy's own definition of the message, not with ours.
    const secret = theirs.decode(
      'envoy.extensions.transport_sockets.tls.v3.Secret',
      spiffeValidatorSecret('ALL', roots),
    );
    const custom = (secret as unknown as TheirSecret).validationContext.customValidatorConfig;
    expect(custom.name).toBe('envoy.tls.cert_validator.spiffe');
    const type = 'envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig';
    expect(custom.typedConfig.type_url).toBe(`type.googleapis.com/${type}`);
    const { trustDomains } = theirs.decode(type, custom.typedConfig.value) as unknown as TheirValidator;
    expect(trustDomains.map((each) => [each.name, each.trustBundle.inlineBytes.toString()])).toEqual([
      ['a.example', 'A'],
      ['b.example', 'B'],
    ]);
  });
});

describe("Writ's subset of Envoy's protocol", () => {
  const ours = load(protoDirectory, secretDiscoveryFiles);
  const messages = Object.keys(ours).filter((name) => name.startsWith('envoy.') && isMessage(ours, name));

  it.each(messages)('%s: every field has the number, type and label that Envoy gives it', (name) => {
    const original = fieldsOf(theirs.definitions, name);
    for (const [field, facts] of Object.entries(fieldsOf(ours, name)))
      expect({ [field]: facts }).toEqual({ [field]: original[field] });
  });

  it('names the methods as Envoy does', () => {
    const service = 'envoy.service.secret.v3.SecretDiscoveryService';
    const original = theirs.definitions[service] as unknown as Record<string, Method>;
    expect(Object.keys(secretDiscoveryService).sort()).toEqual(Object.keys(original).sort());
    for (const [name, { path, requestStream, responseStream }] of Object.entries(secretDiscoveryService)) {
      expect(original[name]).toMatchObject({ path, requestStream, responseStream });
    }
  });
});

interface Method {
  readonly path: string;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
}

interface TheirSecret {
  readonly validationContext: {
    readonly customValidatorConfig: {
      readonly name: string;
      readonly typedConfig: { readonly type_url: string; readonly value: Buffer };
    };
  };
}

interface TheirValidator {
  readonly trustDomains: readonly { readonly name: string; readonly trustBundle: { readonly inlineBytes: Buffer } }[];
}

/** The complete definitions, from a package that ships them. */
const theirs = (() => {
  const deps = join(dirname(createRequire(import.meta.url).resolve('@grpc/grpc-js-xds/package.json')), 'deps');
  const roots = ['envoy-api', 'xds', 'googleapis', 'protoc-gen-validate'].map((name) => join(deps, name));
  const definitions = loadSync([...secretDiscoveryFiles], { includeDirs: roots, oneofs: true });
  return {
    definitions,
    decode: (name: string, bytes: Buffer) =>
      (definitions[name] as unknown as { deserialize(bytes: Buffer): object }).deserialize(bytes),
  };
})();

function load(root: string, files: readonly string[]): PackageDefinition {
  return loadSync([...files], { includeDirs: [root], oneofs: true });
}

function isMessage(definitions: PackageDefinition, name: string): boolean {
  return 'deserialize' in (definitions[name] as object);
}

interface Descriptor {
  readonly field: readonly { name: string; number: number; type: string; label: string; typeName: string }[];
}

function fieldsOf(definitions: PackageDefinition, name: string): Record<string, object> {
  const { field } = (definitions[name] as unknown as { type: Descriptor }).type;
  return Object.fromEntries(
    field.map(({ name: key, number, type, label, typeName }) => [
      key,
      // A type in the same package may be named relative to it.
      { number, type, label, typeName: typeName.split('.').at(-1) },
    ]),
  );
}
