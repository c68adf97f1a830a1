import { AppError, toAppError } from '../../../base/errors.ts';
import type { ProcessView } from './process-view.ts';

/** Finds out one kind of thing about a process: `unix`, `systemd`, `docker`, `k8s`. */
export interface WorkloadAttestor {
  /** Every selector of it begins with this and a colon. */
  readonly type: string;
  /**
   * Selectors of the process; none when it is not of this kind, such as a process outside of any container. Throws when that
   * cannot be found out.
   */
  attest(process: ProcessView, o: AttestOptions): Promise<readonly string[]>;
}

export interface AttestOptions {
  /**
   * Whether an entry could ask for a selector that begins so: what nobody asks for need not be found out where it is costly
   * (the digest of a program) or secret (the environment of a container).
   */
  readonly wants: (prefix: string) => boolean;
  readonly signal: AbortSignal;
}

/** What was found out about a process. */
export interface Attestation {
  /** Each once. */
  readonly selectors: readonly string[];
  /** Attestors that could not say anything: what they would have said is missing in `selectors`. */
  readonly failures: readonly AttestorFailure[];
}

export interface AttestorFailure {
  readonly type: string;
  readonly error: AppError;
}

/** More come from hostile labels only. */
const MAX_SELECTORS = 2_000;
/** Longer than any entry can ask for. */
const MAX_SELECTOR_LENGTH = 512;

/**
 * Asks all attestors at once. That some fail is told beside what the others found; when all do, nothing is known.
 *
 * @throws AppError `unavailable` when every one of them failed
 */
export async function attestWorkload(
  attestors: readonly WorkloadAttestor[],
  process: ProcessView,
  o: AttestOptions,
): Promise<Attestation> {
  const selectors = new Set<string>();
  const failures: AttestorFailure[] = [];
  const results = await Promise.allSettled(attestors.map((attestor) => attestor.attest(process, o)));
  for (const [index, result] of results.entries()) {
    const type = attestors[index]?.type ?? '';
    if (result.status === 'rejected') {
      failures.push({ type, error: toAppError(result.reason) });
      continue;
    }
    for (const selector of result.value) {
      const fits = selector.startsWith(`${type}:`) && selector.length <= MAX_SELECTOR_LENGTH;
      if (fits && selectors.size < MAX_SELECTORS) selectors.add(selector);
    }
  }
  if (failures.length === attestors.length) {
    const why = failures.map(({ type, error }) => `${type}: ${error.message}`).join(' ');
    throw new AppError('unavailable', `Nothing could be found out about the caller. ${why}`, {
      cause: failures[0]?.error,
    });
  }
  return Object.freeze({ selectors: Object.freeze([...selectors]), failures: Object.freeze(failures) });
}

/** A name that comes from outside, as part of a selector; control characters have no place in one. */
export function isPlain(text: string): boolean {
  return text !== '' && !/\p{Cc}/u.test(text);
}
