import { AppError, toAppError } from '../../../base/errors.ts';
import { RateLimit } from '../../../base/rate-limit.ts';
import type { AgentServiceContext, AttestedCaller } from '../workload-api/caller.ts';
import type { Denials } from '../workload-api/denials.ts';
import { WorkloadView } from '../workload-api/workload-view.ts';
import type { Resolution, Wanted } from './sds-names.ts';
import { resolveSecrets, wantedGrants } from './sds-names.ts';
import type { SecretNames } from './secret-names.ts';

const noNames: Wanted = Object.freeze({ names: new Set<string>(), everything: false, plainRoots: false });

/** Attestations of one stream after its first, in the long run and at once: entries may change much more often. */
const ATTESTATIONS_PER_SECOND = 1;
const ATTESTATION_BURST = 5;

/** Lines about secrets that are left out, of one stream: who asks for nonsense does not fill the log. */
const MAX_REASONS_LOGGED = 100;

export interface SdsContext extends AgentServiceContext {
  readonly denials: Denials;
  readonly known: SecretNames;
}

/**
 * Who asks for secrets on one stream, and what there is for it. Close it when the stream ends.
 *
 * A process is attested when its stream begins. When entries change and something that it asked for is missing, it is attested
 * again: what was found out about it then was what the entries of then asked for.
 */
export class SdsCaller {
  readonly #context: SdsContext;
  readonly #call: { getPeer(): string };
  readonly #logged = new Set<string>();
  readonly #attestations: RateLimit;
  #attested: AttestedCaller;
  #attestedFor: unknown;
  #view: WorkloadView;
  #wanted: Wanted = noNames;
  #cancelRetry: () => void = () => undefined;
  #closed = false;

  /** @throws AppError as `Callers.attest` */
  static async attest(context: SdsContext, call: { getPeer(): string }): Promise<SdsCaller> {
    const entries = context.identities.state.current?.entries;
    return new SdsCaller(context, call, await context.callers.attest(call), entries);
  }

  private constructor(context: SdsContext, call: { getPeer(): string }, attested: AttestedCaller, entries: unknown) {
    this.#context = context;
    this.#call = call;
    this.#attested = attested;
    this.#attestedFor = entries;
    this.#attestations = new RateLimit({
      perSecond: ATTESTATIONS_PER_SECOND,
      burst: ATTESTATION_BURST,
      clock: context.clock,
    });
    this.#view = this.#makeView();
  }

  get pid(): number {
    return this.#attested.pid;
  }

  get attested(): AttestedCaller {
    return this.#attested;
  }

  checkAlive(): void {
    this.#attested.checkAlive();
  }

  /** What there is now. SVIDs that are wanted are signed and renewed from here on, until something else is wanted. */
  async resolve(wanted: Wanted): Promise<Resolution> {
    this.#wanted = wanted;
    let resolution = this.#look();
    if (resolution.missing.size > 0 && (await this.#attestAgain())) resolution = this.#look();
    this.#explain(resolution);
    return resolution;
  }

  /** Resolves when `resolve` may say something else, or when `signal` aborts. */
  changed(signal: AbortSignal): Promise<void> {
    return this.#view.changed(signal);
  }

  close(): void {
    this.#closed = true;
    this.#cancelRetry();
    this.#view.close();
  }

  #look(): Resolution {
    // Nothing is leased any more after it was given back.
    if (this.#closed) throw new AppError('unavailable', 'The stream is over.');
    const entitlement = this.#view.current();
    if (entitlement === 'none') this.#context.denials.denied(this.#attested);
    const holdings = typeof entitlement === 'string' ? [] : this.#view.holdings(entitlement);
    return resolveSecrets({ wanted: this.#wanted, known: this.#context.known, entitlement, holdings });
  }

  /** @returns whether it has other selectors than before */
  async #attestAgain(): Promise<boolean> {
    const { callers, identities, clock, logger } = this.#context;
    const entries = identities.state.current?.entries;
    if (entries === this.#attestedFor) return false;
    const before = this.#attested;
    try {
      this.#attestations.take('');
      this.#attested = await callers.attest(this.#call);
      this.#attestedFor = entries;
    } catch (cause) {
      const error = toAppError(cause);
      // Who it is stands as it was; when the process has gone, nothing does.
      if (error.code === 'forbidden') throw error;
      if (error.code !== 'exhausted')
        logger.warn({ err: error, pid: before.pid }, 'a caller could not be attested again');
      this.#cancelRetry();
      this.#cancelRetry = clock.after((error.retryAfterSeconds ?? 1) * 1_000, () => this.#view.touch());
      return false;
    }
    if (this.#closed || isSame(before.selectors, this.#attested.selectors)) return false;
    const old = this.#view;
    this.#view = this.#makeView();
    this.#view.current();
    old.close();
    return true;
  }

  #makeView(): WorkloadView {
    const { identities, clock, known } = this.#context;
    return new WorkloadView({
      identities,
      selectors: this.#attested.selectors,
      clock,
      x509: (grants) => wantedGrants(grants, this.#wanted, known),
    });
  }

  /** Once for each name and reason. */
  #explain({ pending, missing }: Resolution): void {
    for (const [name, why] of [...missing, ...pending]) {
      const line = `${name} ${why}`;
      if (this.#logged.has(line) || this.#logged.size >= MAX_REASONS_LOGGED) continue;
      this.#logged.add(line);
      const { pid, uid } = this.#attested;
      const level = missing.has(name) ? 'warn' : 'debug';
      this.#context.logger[level]({ pid, uid, name: name.slice(0, 256), why }, 'a secret is left out');
    }
  }
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((each, index) => each === b[index]);
}

/** Why a call that can be answered but once gets nothing. */
export function nothingFound({ pending, missing }: Resolution): AppError {
  const [waiting] = pending;
  if (waiting !== undefined) return new AppError('unavailable', `There is no secret ${waiting[0]} yet: ${waiting[1]}.`);
  const [first] = missing;
  if (first === undefined) return new AppError('invalid', 'No secret was asked for.');
  return new AppError('forbidden', `There is no secret ${first[0]} for the caller: ${first[1]}.`);
}
