import type { MethodDefinition, ServiceDefinition } from '@grpc/proto-loader';
import { AppError } from '../base/errors.ts';

/** Stands in for a message that could not be read, so that the handler can answer with a code of ours. */
export class Unreadable {
  readonly error: AppError;

  constructor(error: AppError) {
    this.error = error;
  }
}

/**
 * The service with limits and errors of our own on what is received: the library would answer INTERNAL, as if it were our
 * fault, to bytes that are no message.
 *
 * @param maxBytes of one message, once decompressed
 */
export function tolerant<S extends object>(service: S, maxBytes: number): S {
  const methods = Object.entries(service as unknown as ServiceDefinition);
  return Object.fromEntries(
    methods.map(([name, method]) => [name, { ...method, requestDeserialize: tolerantDeserialize(method, maxBytes) }]),
  ) as unknown as S;
}

function tolerantDeserialize(method: MethodDefinition<object, object>, maxBytes: number): (bytes: Buffer) => object {
  return (bytes) => {
    if (bytes.length > maxBytes) {
      return new Unreadable(new AppError('too-large', `A message to ${method.path} has at most ${maxBytes} bytes.`));
    }
    try {
      return method.requestDeserialize(bytes);
    } catch (cause) {
      return new Unreadable(
        new AppError('invalid', `The message to ${method.path} is not of its protobuf type.`, { cause }),
      );
    }
  };
}

/** Throws what was wrong with an unreadable message. */
export function readable<T>(message: T): T {
  if (message instanceof Unreadable) throw message.error;
  return message;
}
