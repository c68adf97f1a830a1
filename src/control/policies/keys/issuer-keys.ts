import type { Clock } from '../../../base/clock.ts';
import { AppError } from '../../../base/errors.ts';
import type { Logger } from '../../../base/log.ts';
import type { RandomBytes } from '../../../base/random.ts';
import { secureRandom, uniform } from '../../../base/random.ts';
import type { Watch } from '../../../base/watch.ts';
import { WatchSource } from '../../../base/watch.ts';
import { canonicalJwks } from '../../../core/policy/jwks.ts';
import type { JwtRule, RequestAuthentication } from '../../../core/policy/request-authentication.ts';
import type { PolicySet } from '../current.ts';
import type { TokenKeys } from '../publisher.ts';
import { nextAttemptMs } from './key-schedule.ts';
import type { FetchKeys, KeySource, KeysState } from './key-source.ts';
import { sourceKey, sourceOf } from './key-source.ts';
import type { KeyStorage } from './key-storage.ts';

export interface IssuerKeysOptions {
  readonly policies: Watch<Pick<PolicySet, 'requestAuthentications'>>;
  readonly fetch: FetchKeys;
  /** Where good keys outlive this process. */
  readonly storage: KeyStorage;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random?: RandomBytes;
}

interface Kept {
  state: KeysState;
  failures: number;
  timeoutMs: number;
  cancel: () => void;
  fetching: Promise<void> | undefined;
}

/** Of what is told of a failure, in characters. */
const MAX_ERROR = 512;
/** Issuers asked at the same time. */
const MAX_PARALLEL = 8;
/** Of those, such as gave no keys when they were asked last: whoever may write a document could name many that never answer. */
const MAX_UNPROVEN = 6;

/**
 * Keeps the keys of all issuers that request authentications name (reference: rule 50): fetched at once when an issuer is new,
 * then every 20 minutes; after a failure in one minute, then at doubling distances up to an hour. The last good keys stay in
 * force meanwhile and are said to be stale, also over a restart; where there have never been any, there are none, and no token
 * of the issuer is accepted. A key that an issuer withdraws is gone with the next good answer.
 *
 * Every replica asks for itself. What one of them finds, the others find within 20 minutes.
 */
export class IssuerKeys implements TokenKeys {
  readonly #o: IssuerKeysOptions;
  readonly #kept = new Map<string, Kept>();
  readonly #changes = new WatchSource(0);
  readonly #made = new WeakMap<RequestAuthentication, RequestAuthentication>();
  readonly #unsubscribe: () => void;
  readonly #abort = new AbortController();
  readonly #running = { proven: 0, unproven: 0 };
  readonly #queue: { readonly isProven: boolean; readonly wake: () => void }[] = [];

  /** With what was good when this process last ran. Nothing is fetched yet: see `run`. */
  static async open(o: IssuerKeysOptions): Promise<IssuerKeys> {
    return new IssuerKeys(o, await o.storage.load());
  }

  readonly #stored: Map<string, { readonly jwks: string; readonly fetchedAt: number }>;
  #started = false;

  private constructor(
    o: IssuerKeysOptions,
    stored: ReadonlyMap<string, { readonly jwks: string; readonly fetchedAt: number }>,
  ) {
    this.#o = o;
    this.#stored = new Map(stored);
    this.#plan();
    this.#unsubscribe = o.policies.subscribe(() => this.#plan());
  }

  get changes(): Watch<unknown> {
    return this.#changes;
  }

  withKeys(one: RequestAuthentication): RequestAuthentication {
    const keys = one.rules.map((rule) => this.#keysFor(rule));
    const before = this.#made.get(one);
    if (before?.rules.every((rule, i) => rule.jwks === keys[i])) return before;
    const rules = one.rules.map((rule, i) => Object.freeze({ ...rule, jwks: keys[i] ?? '' }));
    const made = Object.freeze({ ...one, rules: Object.freeze(rules) });
    this.#made.set(one, made);
    return made;
  }

  /** What is known of the keys of a rule; undefined for one that has them with it. */
  stateOf(rule: JwtRule): KeysState | undefined {
    const source = sourceOf(rule);
    return source === undefined ? undefined : (this.#kept.get(sourceKey(source))?.state ?? unknown(source));
  }

  /** Asks now, on behalf of an operator: an issuer has withdrawn a key. Throws why it failed. */
  async refresh(one: RequestAuthentication): Promise<void> {
    const sources = one.rules.flatMap((rule) => sourceOf(rule) ?? []);
    for (const source of sources) {
      const kept = this.#kept.get(sourceKey(source));
      if (kept === undefined) continue;
      kept.cancel();
      await kept.fetching;
      const failure = await this.#attempt(kept);
      if (failure !== undefined) throw failure;
    }
  }

  /** Until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    this.#started = true;
    for (const kept of this.#kept.values()) this.#soon(kept, 0);
    if (!signal.aborted)
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    await this.close();
  }

  async close(): Promise<void> {
    this.#unsubscribe();
    this.#abort.abort();
    for (const { wake } of this.#queue.splice(0)) wake();
    const fetching = [...this.#kept.values()].map((kept) => {
      kept.cancel();
      return kept.fetching;
    });
    await Promise.all(fetching);
  }

  #keysFor(rule: JwtRule): string {
    const source = sourceOf(rule);
    if (source === undefined) return canonicalJwks(rule.jwks ?? '');
    return this.#kept.get(sourceKey(source))?.state.jwks ?? '';
  }

  /** What is named is kept, what is not named any more is forgotten. */
  #plan(): void {
    if (this.#abort.signal.aborted) return;
    const wanted = new Map<string, { source: KeySource; timeoutMs: number }>();
    for (const { rules } of this.#o.policies.current.requestAuthentications) {
      for (const rule of rules) {
        const source = sourceOf(rule);
        if (source === undefined) continue;
        const key = sourceKey(source);
        wanted.set(key, { source, timeoutMs: Math.max(rule.timeoutMs, wanted.get(key)?.timeoutMs ?? 0) });
      }
    }
    for (const [key, kept] of this.#kept) {
      if (wanted.has(key)) continue;
      kept.cancel();
      this.#kept.delete(key);
      this.#forget(key);
    }
    for (const [key, { source, timeoutMs }] of wanted) {
      const known = this.#kept.get(key);
      if (known !== undefined) {
        known.timeoutMs = timeoutMs;
        continue;
      }
      const stored = this.#stored.get(key);
      const state = { ...unknown(source), jwks: stored?.jwks, fetchedAt: stored?.fetchedAt };
      const kept: Kept = { state, failures: 0, timeoutMs, cancel: () => undefined, fetching: undefined };
      this.#kept.set(key, kept);
      if (this.#started) this.#soon(kept, 0);
    }
  }

  #soon(kept: Kept, ms: number): void {
    if (this.#abort.signal.aborted || this.#kept.get(sourceKey(kept.state.source)) !== kept) return;
    const { clock } = this.#o;
    kept.cancel();
    if (ms === 0) {
      void this.#attempt(kept);
      return;
    }
    kept.state = { ...kept.state, nextAt: clock.now() + ms };
    kept.cancel = clock.after(ms, () => void this.#attempt(kept));
  }

  /** Resolves with why it failed. */
  async #attempt(kept: Kept): Promise<AppError | undefined> {
    const fetching = this.#fetch(kept);
    kept.fetching = fetching.then(
      () => undefined,
      () => undefined,
    );
    const failure = await fetching.catch((error: unknown) => asAppError(error));
    kept.fetching = undefined;
    this.#soon(kept, nextAttemptMs(kept.failures, uniform(this.#o.random ?? secureRandom)));
    return failure;
  }

  async #fetch(kept: Kept): Promise<AppError | undefined> {
    const { fetch, clock, logger } = this.#o;
    const { source } = kept.state;
    const { signal } = this.#abort;
    const isProven = kept.state.jwks !== undefined && kept.failures === 0;
    try {
      await this.#turn(isProven);
      if (signal.aborted) return undefined;
      const jwks = canonicalJwks(await fetch(source, { timeoutMs: kept.timeoutMs, signal }));
      const changed = jwks !== kept.state.jwks;
      kept.failures = 0;
      const now = clock.now();
      kept.state = { source, jwks, fetchedAt: now, checkedAt: now, lastError: undefined, nextAt: undefined };
      await this.#save(source, jwks, now);
      if (!changed || this.#kept.get(sourceKey(source)) !== kept) return undefined;
      logger.info({ url: source.url }, 'the keys of an issuer of tokens have changed');
      this.#changes.set(this.#changes.current + 1);
      return undefined;
    } catch (error) {
      if (signal.aborted) return undefined;
      const failure = asAppError(error);
      kept.failures += 1;
      kept.state = { ...kept.state, checkedAt: clock.now(), lastError: failure.message.slice(0, MAX_ERROR) };
      const stale = kept.state.jwks !== undefined;
      logger.warn({ err: error, url: source.url, stale }, 'the keys of an issuer of tokens could not be fetched');
      return failure;
    } finally {
      this.#count(isProven, -1);
      const next = this.#queue.find((each) => this.#isRoomFor(each.isProven));
      if (next !== undefined) {
        this.#queue.splice(this.#queue.indexOf(next), 1);
        this.#count(next.isProven, 1);
        next.wake();
      }
    }
  }

  /** Not more than a few at a time. */
  async #turn(isProven: boolean): Promise<void> {
    if (this.#isRoomFor(isProven)) this.#count(isProven, 1);
    else await new Promise<void>((wake) => this.#queue.push({ isProven, wake }));
  }

  #count(isProven: boolean, by: 1 | -1): void {
    this.#running[isProven ? 'proven' : 'unproven'] += by;
  }

  #isRoomFor(isProven: boolean): boolean {
    const { proven, unproven } = this.#running;
    return proven + unproven < MAX_PARALLEL && (isProven || unproven < MAX_UNPROVEN);
  }

  /** In force already; without it only a restart while the issuer is away would miss it. */
  async #save(source: KeySource, jwks: string, fetchedAt: number): Promise<void> {
    const { storage, logger } = this.#o;
    const key = sourceKey(source);
    this.#stored.set(key, { jwks, fetchedAt });
    await storage
      .save(key, jwks, fetchedAt)
      .catch((error: unknown) =>
        logger.warn({ err: error, url: source.url }, 'the keys of an issuer could not be stored'),
      );
  }

  #forget(key: string): void {
    this.#stored.delete(key);
    this.#o.storage
      .forget(key)
      .catch((error: unknown) => this.#o.logger.warn({ err: error }, 'the keys of an issuer could not be forgotten'));
  }
}

function unknown(source: KeySource): KeysState {
  return {
    source,
    jwks: undefined,
    fetchedAt: undefined,
    checkedAt: undefined,
    lastError: undefined,
    nextAt: undefined,
  };
}

function asAppError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  return new AppError('internal', 'The keys could not be fetched. The log of the server says why.', { cause: error });
}
