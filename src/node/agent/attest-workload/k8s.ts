import { readFile } from 'node:fs/promises';
import type { Clock } from '../../../base/clock.ts';
import { sleep } from '../../../base/clock.ts';
import { reason } from '../../../base/durable.ts';
import { AppError } from '../../../base/errors.ts';
import type { AttestOptions, WorkloadAttestor } from './attestor.ts';
import type { ContainerReference } from './container.ts';
import { containerOf } from './container.ts';
import { getJson } from './http-json.ts';
import type { Pods } from './k8s-pods.ts';
import { podSelectors, readPods } from './k8s-pods.ts';
import { parseCgroups } from './proc-formats.ts';
import type { ProcessView } from './process-view.ts';

export interface K8sOptions {
  /** Of the kubelet: https://host:port. Plain http only to a loopback address. */
  readonly kubeletUrl: string;
  /** Bearer token, read anew for each question: kubelets exchange it. */
  readonly tokenFile: string;
  /** PEM with what the kubelet's certificate is verified by; undefined to not verify it, for loopback only. */
  readonly caFile: string | undefined;
  /** The name in the kubelet's certificate. Default the host of `kubeletUrl`. */
  readonly serverName?: string;
  readonly clock: Clock;
  /** How often, and with which pause, the kubelet is asked until it lists the pod. Default 60 times, 500 ms. */
  readonly attempts?: number;
  readonly pauseMs?: number;
  /** For one answer. Default 5 s. */
  readonly timeoutMs?: number;
}

/** The list of a node with 500 large pods has a few MB. */
const MAX_ANSWER_BYTES = 32 * 1024 * 1024;
/** How old a list may be, in milliseconds, when it has the container already. */
const MAX_AGE_MS = 2_000;

/**
 * The Kubernetes pod and container that a process is in: from its cgroup, and from the list of pods that the kubelet of this
 * node has. A container that was started just now may not be listed yet: then the kubelet is asked again, for a while.
 */
export class K8sAttestor implements WorkloadAttestor {
  readonly type = 'k8s';
  readonly #o: K8sOptions;
  #last: { readonly pods: Pods; readonly at: number } | undefined;
  #asking: Promise<Pods> | undefined;

  /** @throws AppError `usage` for an address that is not one of a kubelet */
  constructor(o: K8sOptions) {
    checkUrl(o);
    this.#o = o;
  }

  async attest(process: ProcessView, o: AttestOptions): Promise<readonly string[]> {
    const reference = containerOf(parseCgroups(await process.read('cgroup')));
    if (reference === undefined) return [];
    const found = await this.#find(reference, o.signal);
    return podSelectors(found.pod, found.container);
  }

  async #find(reference: ContainerReference, signal: AbortSignal) {
    const { clock, attempts = 60, pauseMs = 500 } = this.#o;
    const recent = this.#last !== undefined && clock.now() - this.#last.at < MAX_AGE_MS ? this.#last.pods : undefined;
    const known = recent?.find(reference);
    if (known !== undefined) return known;
    for (let attempt = 1; ; attempt += 1) {
      const found = (await this.#ask()).find(reference);
      if (found !== undefined) return found;
      if (attempt >= attempts) break;
      await sleep(clock, pauseMs, signal);
      if (signal.aborted) throw new AppError('unavailable', 'The caller went away while its pod was sought.');
    }
    throw new AppError(
      'unavailable',
      `The kubelet lists no pod with the container ${reference.containerId.slice(0, 12)} of the caller.`,
    );
  }

  /** One question at a time, for all who wait. */
  #ask(): Promise<Pods> {
    this.#asking ??= this.#fetch().finally(() => {
      this.#asking = undefined;
    });
    return this.#asking;
  }

  async #fetch(): Promise<Pods> {
    const url = new URL(this.#o.kubeletUrl);
    const tls = url.protocol === 'https:';
    const { caFile } = this.#o;
    const answer = await getJson({
      name: 'The kubelet',
      tls,
      request: {
        host: url.hostname.replace(/^\[|\]$/g, ''),
        port: url.port === '' ? 10_250 : Number(url.port),
        path: '/pods',
        headers: { authorization: `Bearer ${(await read(this.#o.tokenFile)).trim()}` },
        ...(tls && {
          minVersion: 'TLSv1.2' as const,
          ...(caFile === undefined ? { rejectUnauthorized: false } : { ca: await read(caFile) }),
          ...(this.#o.serverName !== undefined && { servername: this.#o.serverName }),
        }),
      },
      maxBytes: MAX_ANSWER_BYTES,
      timeoutMs: this.#o.timeoutMs ?? 5_000,
      // Several wait for it: not for one of them to cut.
      signal: new AbortController().signal,
    });
    if (answer.status !== 200) {
      const hint = answer.status === 401 || answer.status === 403 ? '; the service account needs nodes/proxy' : '';
      throw new AppError('unavailable', `The kubelet answered with status ${answer.status}${hint}.`);
    }
    const pods = readPods(answer.body);
    this.#last = { pods, at: this.#o.clock.now() };
    return pods;
  }
}

async function read(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw new AppError('unavailable', `Cannot read ${file}: ${reason(cause)}.`, { cause });
  }
}

function checkUrl(o: K8sOptions): void {
  const url = URL.canParse(o.kubeletUrl) ? new URL(o.kubeletUrl) : undefined;
  const loopback = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/.test(url?.hostname ?? '');
  const plain =
    url?.pathname === '/' && url.search === '' && url.hash === '' && url.username === '' && url.password === '';
  if (url === undefined || !plain || !(url.protocol === 'https:' || (url.protocol === 'http:' && loopback))) {
    throw new AppError(
      'usage',
      'The address of the kubelet must be https://host:port; plain http is for loopback only.',
    );
  }
  if (url.protocol === 'https:' && o.caFile === undefined && !loopback) {
    throw new AppError('usage', 'A kubelet that is not on loopback must be verified: name the file with its CA.');
  }
}
