import type { ChannelCredentials, ChannelOptions, Client } from '@grpc/grpc-js';
import { makeGenericClientConstructor } from '@grpc/grpc-js';
import type { MessageTypeDefinition, MethodDefinition, PackageDefinition, ServiceDefinition } from '@grpc/proto-loader';
import { loadSync } from '@grpc/proto-loader';
import { protoDirectory } from './proto-files.ts';
import type { Check } from './strict.ts';
import { strictChecks } from './strict.ts';

/** A message outside of a call. `decode` throws what the protobuf library throws: wrap it. */
export interface Codec<Input, Output> {
  encode(message: Input): Buffer;
  decode(bytes: Buffer): Output;
}

/** What makes a client of one service: `new Constructor('host:port', credentials, options)`. Close it after use. */
export type ClientConstructor<C extends Client> = new (
  address: string,
  credentials: ChannelCredentials,
  options?: ChannelOptions,
) => C;

/**
 * Services and messages of some of the files of `proto/`, loaded once. Whatever is encoded here is checked first
 * (`strict.ts`), and a message that somebody encoded already (a Buffer) passes through as it is, so that what goes to many
 * is encoded once.
 */
export class Protocol {
  readonly #definitions: PackageDefinition;
  readonly #checkFor: (messageName: string) => Check;

  /** @param files relative to `proto/` */
  constructor(files: readonly string[]) {
    // The same options as in `gen.ts`.
    this.#definitions = loadSync([...files], {
      includeDirs: [protoDirectory],
      longs: String,
      enums: String,
      defaults: true,
      oneofs: true,
    });
    this.#checkFor = strictChecks(this.#definitions);
  }

  /** As the generated `<Name>Definition` types it. */
  service<Definition>(name: string): Definition {
    const methods = Object.entries(this.#definitions[name] as ServiceDefinition);
    return Object.fromEntries(methods.map(([key, method]) => [key, this.#strictMethod(method)])) as Definition;
  }

  codec<Input extends object, Output extends object>(name: string): Codec<Input, Output> {
    const type = this.#definitions[name] as unknown as MessageTypeDefinition<Input, Output>;
    const check = this.#checkFor(name);
    return {
      encode(message) {
        check(message);
        return type.serialize(message);
      },
      decode: (bytes) => type.deserialize(bytes),
    };
  }

  client<C extends Client>(name: string, definition: object): ClientConstructor<C> {
    // The library's own type lists the methods by index signature; ours are the generated ones.
    return makeGenericClientConstructor(definition as ServiceDefinition, name) as unknown as ClientConstructor<C>;
  }

  #strictMethod(method: MethodDefinition<object, object>): MethodDefinition<object, object> {
    return {
      ...method,
      requestSerialize: this.#strictSerialize(method.requestType, method.requestSerialize),
      responseSerialize: this.#strictSerialize(method.responseType, method.responseSerialize),
    };
  }

  #strictSerialize(
    type: MethodDefinition<object, object>['requestType'],
    serialize: (message: object) => Buffer,
  ): (message: object) => Buffer {
    const check = this.#checkFor(this.#messageName(type));
    return (message) => {
      if (Buffer.isBuffer(message)) return message;
      check(message);
      return serialize(message);
    };
  }

  /** A method knows its messages without their package; names are unique among the files of one protocol. */
  #messageName(type: MessageTypeDefinition<object, object>): string {
    const { name } = type.type as { readonly name: string };
    const fullName = Object.keys(this.#definitions).find((key) => key === name || key.endsWith(`.${name}`));
    return fullName ?? name;
  }
}
