import { AppError } from '../../../base/errors.ts';
import type { AttestOptions, WorkloadAttestor } from './attestor.ts';
import { containerOf } from './container.ts';
import { array, getJson, object, text, texts } from './http-json.ts';
import { parseCgroups } from './proc-formats.ts';
import type { ProcessView } from './process-view.ts';

export interface DockerOptions {
  /** Unix socket of the daemon. Default /var/run/docker.sock. */
  readonly socketPath?: string;
  /** Default 5 s. */
  readonly timeoutMs?: number;
}

const MAX_ANSWER_BYTES = 4 * 1024 * 1024;
const MAX_CONTAINERS = 1_000;

/**
 * The Docker container that a process is in: `docker:container_id:ID`, `docker:label:KEY:VALUE`, `docker:image_id:NAME` (as it
 * was given to `docker run`), `docker:image_config_digest:sha256:…`, and `docker:env:NAME=VALUE` for those that an entry asks
 * for. What the daemon says of a container does not change while it lives, so it is asked once.
 */
export class DockerAttestor implements WorkloadAttestor {
  readonly type = 'docker';
  readonly #socketPath: string;
  readonly #timeoutMs: number;
  readonly #containers = new Map<string, Container>();

  constructor(o: DockerOptions = {}) {
    this.#socketPath = o.socketPath ?? '/var/run/docker.sock';
    this.#timeoutMs = o.timeoutMs ?? 5_000;
  }

  async attest(process: ProcessView, o: AttestOptions): Promise<readonly string[]> {
    const reference = containerOf(parseCgroups(await process.read('cgroup')));
    if (reference === undefined) return [];
    const container = await this.#inspect(reference.containerId, o.signal);
    if (container === undefined) return [];
    return [
      `docker:container_id:${reference.containerId}`,
      ...container.selectors,
      // Environments hold secrets: none of them goes anywhere unless an entry names its value already.
      ...container.environment.map((each) => `docker:env:${each}`).filter(o.wants),
    ];
  }

  /** undefined for a container that this daemon does not know: another runtime's. */
  async #inspect(id: string, signal: AbortSignal): Promise<Container | undefined> {
    const known = this.#containers.get(id);
    if (known !== undefined) return known;
    const answer = await getJson({
      name: 'The Docker daemon',
      tls: false,
      request: { socketPath: this.#socketPath, path: `/containers/${id}/json`, headers: { host: 'docker' } },
      maxBytes: MAX_ANSWER_BYTES,
      timeoutMs: this.#timeoutMs,
      signal,
    });
    if (answer.status === 404) return undefined;
    if (answer.status !== 200) {
      throw new AppError('unavailable', `The Docker daemon answered with status ${answer.status}.`);
    }
    const container = readContainer(answer.body, id);
    this.#containers.set(id, container);
    const [oldest] = this.#containers.keys();
    if (this.#containers.size > MAX_CONTAINERS && oldest !== undefined) this.#containers.delete(oldest);
    return container;
  }
}

interface Container {
  readonly selectors: readonly string[];
  /** `NAME=VALUE` each. */
  readonly environment: readonly string[];
}

/** @throws AppError `unavailable` when the answer is about another container, or about none */
export function readContainer(body: unknown, id: string): Container {
  const answer = object(body);
  if (answer.Id !== id) throw new AppError('unavailable', 'The Docker daemon answered about another container.');
  const config = object(answer.Config);
  const image = text(config.Image);
  const digest = text(answer.Image);
  return Object.freeze({
    selectors: Object.freeze([
      ...texts(config.Labels).map(([key, value]) => `docker:label:${key}:${value}`),
      ...(image === undefined ? [] : [`docker:image_id:${image}`]),
      ...(digest === undefined ? [] : [`docker:image_config_digest:${digest}`]),
    ]),
    environment: Object.freeze(array(config.Env).flatMap((each) => text(each) ?? [])),
  });
}
