import type { Clock } from '../../../base/clock.ts';
import { AppError } from '../../../base/errors.ts';
import type { Logger } from '../../../base/log.ts';
import { describe, nearMisses } from '../admin/why.ts';
import type { AgentIdentities } from '../identities/agent-identities.ts';
import type { AttestedCaller } from './caller.ts';

/** Clients without an identity come back every few seconds; the log says it once in this time, in milliseconds. */
const QUIET_MS = 60_000;
const MAX_REMEMBERED = 1_000;

/** Says in the log why a caller has no identity; tells the caller no more than that it has none. */
export class Denials {
  readonly #o: { readonly identities: AgentIdentities; readonly clock: Clock; readonly logger: Logger };
  readonly #said = new Map<string, number>();

  constructor(o: { readonly identities: AgentIdentities; readonly clock: Clock; readonly logger: Logger }) {
    this.#o = o;
  }

  /** The error for the caller: PermissionDenied (SPIFFE_Workload_Endpoint.md §6). */
  denied(caller: AttestedCaller): AppError {
    const { clock, logger, identities } = this.#o;
    const { pid, uid, selectors } = caller;
    const now = clock.now();
    const key = selectors.join(' ');
    const saidAt = this.#said.get(key);
    if (saidAt === undefined || now - saidAt >= QUIET_MS) {
      this.#remember(key, now);
      const entries = identities.state.current?.entries.values() ?? [];
      const nearest = nearMisses({ entries, selectors, now }).map(describe);
      logger.warn(
        { pid, uid, selectors, nearest },
        nearest.length === 0
          ? 'no identity for this process: no entry of this agent asks for any of its selectors'
          : 'no identity for this process: no entry of this agent matches it',
      );
    }
    return new AppError(
      'forbidden',
      `There is no identity for this process. On its machine, \`writ identity why --pid ${pid}\` says what is missing.`,
    );
  }

  #remember(key: string, now: number): void {
    this.#said.delete(key);
    this.#said.set(key, now);
    const [oldest] = this.#said.keys();
    if (this.#said.size > MAX_REMEMBERED && oldest !== undefined) this.#said.delete(oldest);
  }
}
