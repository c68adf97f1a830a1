import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { WorkloadEntry } from '../../core/identity/workload-entry.ts';
import type { WatchIdentityRequest__Output } from '../../wire/gen/writ/v1/WatchIdentityRequest.ts';
import type { IdentityDifference, IdentityHello } from '../../wire/identity-watch.ts';
import { atRevision, bundleHash, fromIdentityMessage } from '../../wire/identity-watch.ts';
import type { Differences } from './identity-difference.ts';
import { difference } from './identity-difference.ts';
import type { GrpcLimits } from './limits.ts';
import type { AgentConnection, AgentContent } from './services.ts';
import type { ServerStream } from './stream.ts';

export interface IdentitySessionOptions {
  readonly stream: ServerStream<WatchIdentityRequest__Output, Buffer>;
  readonly connection: AgentConnection;
  /** What the agent says it holds. */
  readonly hello: IdentityHello;
  /** Shared by all sessions. */
  readonly differences: Differences;
  readonly clock: Clock;
  readonly limits: Pick<GrpcLimits, 'ackTimeoutMs'>;
}

/**
 * One agent's watch. Level-based: it is sent the difference between what it has and what it should have, at once (if only an
 * empty one, so that it knows) and after every change, and nothing more until it has acknowledged that; what changes meanwhile
 * comes with the next difference, in its latest state. Nothing is sent twice over one stream, and what the agent brought from
 * an earlier one is not sent again.
 */
export class IdentitySession {
  readonly #o: IdentitySessionOptions;
  #revision = 0;
  #unanswered: { readonly revision: number; readonly answered: () => void } | undefined;
  #wake: () => void = () => undefined;
  #changed = true;

  constructor(options: IdentitySessionOptions) {
    this.#o = options;
  }

  /** Until the agent is done or goes away. Rejects with what the stream is to end with. */
  async run(): Promise<void> {
    const { connection, stream } = this.#o;
    const changed = () => {
      this.#changed = true;
      this.#wake();
    };
    const replaced = () => stream.abort(reasonOf(connection.replaced));
    const unsubscribe = connection.content.subscribe(changed);
    stream.signal.addEventListener('abort', changed, { once: true });
    connection.replaced.addEventListener('abort', replaced, { once: true });
    try {
      await Promise.race([this.#listen(), this.#push()]);
    } finally {
      unsubscribe();
      connection.replaced.removeEventListener('abort', replaced);
    }
  }

  async #push(): Promise<void> {
    const { connection, stream, differences, hello } = this.#o;
    let has: AgentContent | undefined;
    for (;;) {
      stream.signal.throwIfAborted();
      if (!this.#changed) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        continue;
      }
      this.#changed = false;
      const wanted = connection.content.current;
      if (wanted === has) continue;
      if (has === undefined) await this.#send(differences.encode(differenceToHello(hello, wanted)));
      else {
        const change = differences.between(has, wanted);
        if (!change.isEmpty) await this.#send(change.messages);
      }
      has = wanted;
      connection.acknowledged(wanted);
    }
  }

  /** Each message waits for the acknowledgement of the one before, and resolves with that of the last. */
  async #send(messages: readonly Buffer[]): Promise<void> {
    for (const message of messages) {
      this.#revision += 1;
      const answered = this.#expectAnswer(this.#revision);
      await this.#o.stream.send(atRevision(message, this.#revision));
      await answered;
      this.#o.stream.signal.throwIfAborted();
    }
  }

  /** Resolves with the answer, or when the stream is over; ends the stream when it takes too long. */
  #expectAnswer(revision: number): Promise<void> {
    const { clock, limits, stream } = this.#o;
    return new Promise((resolve) => {
      const cancel = clock.after(limits.ackTimeoutMs, () =>
        stream.abort(
          new AppError('deadline-exceeded', `An update was not acknowledged within ${limits.ackTimeoutMs / 1000} s.`),
        ),
      );
      const answered = () => {
        cancel();
        stream.signal.removeEventListener('abort', answered);
        this.#unanswered = undefined;
        resolve();
      };
      stream.signal.addEventListener('abort', answered, { once: true });
      this.#unanswered = { revision, answered };
    });
  }

  async #listen(): Promise<void> {
    for (;;) {
      const message = await this.#o.stream.receive();
      if (message === undefined) return;
      const said = fromIdentityMessage(message);
      if (said.kind === 'hello') throw new AppError('invalid', 'hello comes once, first.');
      const sent = this.#unanswered;
      if (sent?.revision !== said.revision) {
        throw new AppError('invalid', 'ack names an update that is not waiting for one.');
      }
      sent.answered();
    }
  }
}

/** Towards what an agent says it holds from an earlier stream: entries by id and revision, bundles by their hash. */
function differenceToHello(hello: IdentityHello, wanted: AgentContent): IdentityDifference {
  const entries = new Map(hello.entries.map(({ id, revision }) => [id, revision]));
  const hashes = new Map(hello.bundles.map((bundle) => [bundle.trustDomain, bundle.hash]));
  const isNews = (entry: WorkloadEntry) => entries.get(entry.id) !== entry.revision;
  return difference({
    wanted,
    heldEntries: entries.keys(),
    heldDomains: hashes.keys(),
    isNewEntry: isNews,
    isNewBundle: (bundle) => hashes.get(bundle.trustDomain)?.equals(bundleHash(bundle)) !== true,
  });
}

function reasonOf(signal: AbortSignal): AppError {
  return signal.reason instanceof AppError ? signal.reason : new AppError('unavailable', 'The stream has ended.');
}
