import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { PackageDefinition } from '@grpc/proto-loader';
import { loadSync } from '@grpc/proto-loader';
import { describe, expect, it } from 'vitest';
import { authorizationService } from '../../src/wire/external-authorization.ts';
import { externalAuthorizationFiles, protoDirectory } from '../../src/wire/proto-files.ts';

/** The complete definitions, from a package that ships them. */
const deps = join(dirname(createRequire(import.meta.url).resolve('@grpc/grpc-js-xds/package.json')), 'deps');
const theirs = load(['envoy-api', 'xds', 'googleapis', 'protoc-gen-validate'].map((name) => join(deps, name)));
const ours = load([protoDirectory]);
const SERVICE = 'envoy.service.auth.v3.Authorization';

describe("Writ's subset of Envoy's external authorization", () => {
  const messages = Object.keys(ours).filter((name) => name.startsWith('envoy.') && 'deserialize' in (ours[name] ?? {}));

  it('has the messages that it needs', () => {
    for (const name of ['CheckRequest', 'CheckResponse', 'OkHttpResponse', 'DeniedHttpResponse', 'AttributeContext']) {
      expect(messages).toContain(`envoy.service.auth.v3.${name}`);
    }
  });

  it.each(messages)('%s: every field has the number, type, label and oneof that Envoy gives it', (name) => {
    expectSubset(descriptorOf(ours, name), descriptorOf(theirs, name));
  });

  it('HeaderAppendAction has the names and numbers of Envoy', () => {
    const option = 'envoy.config.core.v3.HeaderValueOption';
    expect(descriptorOf(ours, option).enumType).toEqual(descriptorOf(theirs, option).enumType);
  });

  it('calls the method by the path that Envoy calls', () => {
    const { Check } = theirs[SERVICE] as unknown as Record<string, object>;
    const { path, requestStream, responseStream } = authorizationService.Check;
    expect(Check).toMatchObject({ path, requestStream, responseStream });
    expect(path).toBe('/envoy.service.auth.v3.Authorization/Check');
  });
});

interface Field {
  readonly name: string;
  readonly number: number;
  readonly type: string;
  readonly label: string;
  readonly typeName: string;
}

interface Descriptor {
  readonly name: string;
  readonly field: readonly Field[];
  readonly nestedType: readonly Descriptor[];
  readonly enumType: readonly { readonly name: string; readonly value: readonly object[] }[];
}

function expectSubset(own: Descriptor, original: Descriptor): void {
  const known = new Map(original.field.map((field) => [field.name, facts(field)]));
  for (const field of own.field)
    expect({ [field.name]: facts(field) }).toEqual({ [field.name]: known.get(field.name) });
  for (const nested of own.nestedType) {
    const same = original.nestedType.find(({ name }) => name === nested.name);
    if (same === undefined) throw new Error(`Envoy has no ${own.name}.${nested.name}`);
    expectSubset(nested, same);
  }
}

/** A type in the same package may be named relative to it. */
function facts({ number, type, label, typeName }: Field): object {
  return { number, type, label, typeName: typeName.split('.').at(-1) };
}

function descriptorOf(definitions: PackageDefinition, name: string): Descriptor {
  return (definitions[name] as unknown as { type: Descriptor }).type;
}

function load(includeDirs: string[]): PackageDefinition {
  return loadSync([...externalAuthorizationFiles], { includeDirs, oneofs: true });
}
