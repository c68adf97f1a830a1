import type { ChannelCredentials, ChannelOptions, Client } from '@grpc/grpc-js';
import { makeGenericClientConstructor } from '@grpc/grpc-js';
import type { MessageTypeDefinition, MethodDefinition, ServiceDefinition } from '@grpc/proto-loader';
import { loadSync } from '@grpc/proto-loader';
import type { HealthClient, HealthDefinition } from './gen/grpc/health/v1/Health.ts';
import type { AuditClient, AuditDefinition } from './gen/writ/v1/Audit.ts';
import type { EnrollmentClient, EnrollmentDefinition } from './gen/writ/v1/Enrollment.ts';
import type { IdentityClient, IdentityDefinition } from './gen/writ/v1/Identity.ts';
import type { PolicyClient, PolicyDefinition } from './gen/writ/v1/Policy.ts';
import type { Snapshot, Snapshot__Output } from './gen/writ/v1/Snapshot.ts';
import type { SnapshotContent, SnapshotContent__Output } from './gen/writ/v1/SnapshotContent.ts';
import { protoDirectory, protoFiles } from './proto-files.ts';
import { strictChecks } from './strict.ts';

/**
 * The services and messages of `proto/`, loaded once. Whatever is encoded here is checked first (`strict.ts`), and a
 * message that somebody encoded already (a Buffer) passes through as it is, so that what goes to many is encoded once.
 */

/** The same options as in `gen.ts`. */
const definitions = loadSync([...protoFiles], {
  includeDirs: [protoDirectory],
  longs: String,
  enums: String,
  defaults: true,
  oneofs: true,
});

const checkFor = strictChecks(definitions);

export const enrollmentService = service('writ.v1.Enrollment') as unknown as EnrollmentDefinition;
export const identityService = service('writ.v1.Identity') as unknown as IdentityDefinition;
export const policyService = service('writ.v1.Policy') as unknown as PolicyDefinition;
export const auditService = service('writ.v1.Audit') as unknown as AuditDefinition;
export const healthService = service('grpc.health.v1.Health') as unknown as HealthDefinition;

/** A message outside of a call. `decode` throws what the protobuf library throws: wrap it. */
export interface Codec<Input, Output> {
  encode(message: Input): Buffer;
  decode(bytes: Buffer): Output;
}

export const snapshotCodec = codec<Snapshot, Snapshot__Output>('writ.v1.Snapshot');
export const snapshotContentCodec = codec<SnapshotContent, SnapshotContent__Output>('writ.v1.SnapshotContent');

/** What makes a client of one service: `new clients.Policy('host:port', credentials, options)`. Close it after use. */
export type ClientConstructor<C extends Client> = new (
  address: string,
  credentials: ChannelCredentials,
  options?: ChannelOptions,
) => C;

export const clients = {
  Enrollment: clientConstructor<EnrollmentClient>('Enrollment', enrollmentService),
  Identity: clientConstructor<IdentityClient>('Identity', identityService),
  Policy: clientConstructor<PolicyClient>('Policy', policyService),
  Audit: clientConstructor<AuditClient>('Audit', auditService),
  Health: clientConstructor<HealthClient>('Health', healthService),
} as const;

function service(name: string): ServiceDefinition {
  const methods = Object.entries(definitions[name] as ServiceDefinition);
  return Object.fromEntries(methods.map(([key, method]) => [key, strictMethod(method)]));
}

function strictMethod(method: MethodDefinition<object, object>): MethodDefinition<object, object> {
  return {
    ...method,
    requestSerialize: strictSerialize(method.requestType, method.requestSerialize),
    responseSerialize: strictSerialize(method.responseType, method.responseSerialize),
  };
}

function strictSerialize(
  type: MethodDefinition<object, object>['requestType'],
  serialize: (message: object) => Buffer,
): (message: object) => Buffer {
  const check = checkFor(messageName(type));
  return (message) => {
    if (Buffer.isBuffer(message)) return message;
    check(message);
    return serialize(message);
  };
}

/** A method knows its messages without their package; names are unique among ours. */
function messageName(type: MessageTypeDefinition<object, object>): string {
  const { name } = type.type as { readonly name: string };
  const fullName = Object.keys(definitions).find((key) => key.endsWith(`.${name}`));
  return fullName ?? name;
}

function codec<Input extends object, Output extends object>(name: string): Codec<Input, Output> {
  const type = definitions[name] as unknown as MessageTypeDefinition<Input, Output>;
  const check = checkFor(name);
  return {
    encode(message) {
      check(message);
      return type.serialize(message);
    },
    decode: (bytes) => type.deserialize(bytes),
  };
}

function clientConstructor<C extends Client>(name: string, definition: object): ClientConstructor<C> {
  // The library's own type lists the methods by index signature; ours are the generated ones.
  return makeGenericClientConstructor(definition as ServiceDefinition, name) as unknown as ClientConstructor<C>;
}
