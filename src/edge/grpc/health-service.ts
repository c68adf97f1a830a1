import type { handleServerStreamingCall, handleUnaryCall } from '@grpc/grpc-js';
import { AppError } from '../../base/errors.ts';
import { WatchSource } from '../../base/watch.ts';
import type { HealthHandlers } from '../../wire/gen/grpc/health/v1/Health.ts';
import type { HealthCheckRequest__Output } from '../../wire/gen/grpc/health/v1/HealthCheckRequest.ts';
import type { HealthCheckResponse } from '../../wire/gen/grpc/health/v1/HealthCheckResponse.ts';
import { toServiceError } from '../../wire/status.ts';
import { Unreadable } from './receive.ts';

type Status = 'SERVING' | 'NOT_SERVING' | 'SERVICE_UNKNOWN';
type Check = handleUnaryCall<HealthCheckRequest__Output, HealthCheckResponse>;
type WatchCall = handleServerStreamingCall<HealthCheckRequest__Output, HealthCheckResponse>;

/**
 * The standard health service, for anybody: of the server as a whole (the empty name) and of each of its services by full
 * name. All of them serve until the server begins to stop; then none does, and watchers are told before their calls end.
 */
export class Health {
  readonly #services: ReadonlySet<string>;
  readonly #serving = new WatchSource<boolean>(true);
  readonly #ends = new Set<() => void>();

  constructor(services: readonly string[]) {
    this.#services = new Set(['', ...services]);
  }

  get handlers(): HealthHandlers {
    return { Check: this.#check, Watch: this.#watch };
  }

  stop(): void {
    this.#serving.set(false);
    for (const end of [...this.#ends]) end();
  }

  #statusOf(service: string): Status {
    if (!this.#services.has(service)) return 'SERVICE_UNKNOWN';
    return this.#serving.current ? 'SERVING' : 'NOT_SERVING';
  }

  readonly #check: Check = (call, callback) => {
    const refused = refusalOf(call.request);
    if (refused !== undefined) return callback(toServiceError(refused));
    const status = this.#statusOf(call.request.service);
    if (status === 'SERVICE_UNKNOWN') {
      return callback(toServiceError(new AppError('not-found', 'There is no such service here.')));
    }
    callback(null, { status });
  };

  /** Each status is written at most twice, so what a watcher does not read costs nothing. */
  readonly #watch: WatchCall = (call) => {
    const refused = refusalOf(call.request);
    if (refused !== undefined) {
      call.emit('error', toServiceError(refused));
      return;
    }
    const tell = () => {
      call.write({ status: this.#statusOf(call.request.service) });
    };
    tell();
    const unsubscribe = this.#serving.subscribe(tell);
    const end = () => {
      forget();
      call.emit('error', toServiceError(new AppError('unavailable', 'The control plane is stopping.')));
    };
    const forget = () => {
      unsubscribe();
      this.#ends.delete(end);
    };
    this.#ends.add(end);
    call.once('cancelled', forget);
    call.once('close', forget);
  };
}

function refusalOf(request: object): AppError | undefined {
  return request instanceof Unreadable ? request.error : undefined;
}
