import { join } from 'node:path';
import type { ClientReadableStream, ServiceError } from '@grpc/grpc-js';
import { credentials, Metadata } from '@grpc/grpc-js';
import { onTestFinished } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { UnixAttestor } from '../../../src/node/agent/attest-workload/unix.ts';
import type { AgentServer, AgentServerOptions } from '../../../src/node/agent/workload-api/agent-server.ts';
import { startAgentServer } from '../../../src/node/agent/workload-api/agent-server.ts';
import { workloadApi } from '../../../src/node/agent/workload-api/workload-api.ts';
import type { SpiffeWorkloadAPIClient } from '../../../src/wire/gen/SpiffeWorkloadAPI.ts';
import { WorkloadApiClient } from '../../../src/wire/workload-api.ts';
import { tempDirectory } from '../../support/temp.ts';
import { TestIdentities } from './test-identities.ts';

export interface TestAgent {
  readonly identities: TestIdentities;
  readonly server: AgentServer;
  readonly socketPath: string;
}

/** The real socket, the real kernel, this very process as the caller. */
export async function startTestAgent(
  o: Omit<Partial<AgentServerOptions>, 'identities'> & { readonly identities?: TestIdentities } = {},
): Promise<TestAgent> {
  const identities = o.identities ?? new TestIdentities();
  return { identities, ...(await startAgent({ ...o, identities })) };
}

/** The same with identities from elsewhere. */
export async function startAgent(
  o: Partial<AgentServerOptions> & Pick<AgentServerOptions, 'identities'>,
): Promise<Omit<TestAgent, 'identities'>> {
  const socketPath = o.socketPath ?? join(await tempDirectory(), 'agent.sock');
  const server = await startAgentServer({
    attestors: [new UnixAttestor()],
    services: [workloadApi],
    clock: systemClock,
    logger: silentLogger,
    stopGraceMs: 100,
    ...o,
    socketPath,
  });
  onTestFinished(() => server.close());
  return { server, socketPath };
}

export function clientOf(socketPath: string): SpiffeWorkloadAPIClient {
  const client = new WorkloadApiClient(`unix://${socketPath}`, credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
  });
  onTestFinished(() => client.close());
  return client;
}

/** What every caller sends along. */
export function header(...values: readonly string[]): Metadata {
  const metadata = new Metadata();
  for (const value of values) metadata.add('workload.spiffe.io', value);
  return metadata;
}

export const secured = header('true');

/** Messages of a stream, one by one; the end as an error. */
export class Received<T> {
  readonly #call: ClientReadableStream<T>;
  readonly #messages: T[] = [];
  #end: ServiceError | 'ended' | undefined;
  #wake: () => void = () => undefined;

  constructor(call: ClientReadableStream<T>) {
    this.#call = call;
    call.on('data', (message: T) => {
      this.#messages.push(message);
      this.#wake();
    });
    call.on('error', (error: ServiceError) => {
      this.#end ??= error;
      this.#wake();
    });
    call.on('end', () => {
      this.#end ??= 'ended';
      this.#wake();
    });
    onTestFinished(() => call.cancel());
  }

  async next(): Promise<T> {
    for (;;) {
      const message = this.#messages.shift();
      if (message !== undefined) return message;
      if (this.#end !== undefined) throw this.#end === 'ended' ? new Error('ended without a status') : this.#end;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** The status that the stream ends with; a message before that is an error. */
  async status(): Promise<{ code: number; details: string }> {
    try {
      await this.next();
    } catch (error) {
      const { code, details } = error as ServiceError;
      return { code, details };
    }
    throw new Error('a message came instead of the end');
  }

  get waiting(): number {
    return this.#messages.length;
  }

  cancel(): void {
    this.#call.cancel();
  }
}

/** A unary call's answer. */
export function answer<T>(call: (callback: (error: ServiceError | null, message?: T) => void) => unknown): Promise<T> {
  return new Promise((resolve, reject) => {
    call((error, message) => {
      if (error !== null) reject(error);
      else resolve(message as T);
    });
  });
}

/** The status that a unary call fails with. */
export async function statusOf(call: Promise<unknown>): Promise<{ code: number; details: string }> {
  try {
    await call;
  } catch (error) {
    const { code, details } = error as ServiceError;
    return { code, details };
  }
  throw new Error('the call did not fail');
}
