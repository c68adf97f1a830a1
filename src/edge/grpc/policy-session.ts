import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { Watch } from '../../base/watch.ts';
import type { Quarantine } from '../../core/policy/snapshot.ts';
import type { WatchPolicyRequest__Output } from '../../wire/gen/writ/v1/WatchPolicyRequest.ts';
import { MAX_SNAPSHOT_BYTES } from '../../wire/limits.ts';
import type { PolicyMessage } from '../../wire/policy.ts';
import { fromPolicyMessage } from '../../wire/policy.ts';
import { NO_SNAPSHOT } from '../../wire/quarantine.ts';
import type { WorkloadLabels } from './labels.ts';
import { notRegistered } from './labels.ts';
import type { GrpcLimits } from './limits.ts';
import type { ProxyConnection, Published } from './services.ts';
import type { QuarantineBytes, SnapshotBytes } from './snapshot-bytes.ts';
import type { ServerStream } from './stream.ts';

export interface PolicySessionOptions {
  readonly stream: ServerStream<WatchPolicyRequest__Output, Buffer>;
  readonly connection: ProxyConnection;
  readonly published: Watch<Published>;
  /** Who is cut off. Default nobody. */
  readonly quarantine?: Watch<Quarantine>;
  /** Who it is; without labels, its entry is gone. */
  readonly workload: {
    readonly spiffeId: string;
    readonly instanceId: string;
    readonly labels: Watch<WorkloadLabels | undefined>;
  };
  readonly bytes: SnapshotBytes;
  readonly quarantineBytes: QuarantineBytes;
  /** Hash of the content that the sidecar has in force; empty for none. */
  readonly haveHash: Buffer;
  /** What the sidecar says it understands. */
  readonly features?: readonly string[];
  readonly clock: Clock;
  readonly limits: Pick<GrpcLimits, 'ackTimeoutMs'>;
}

interface Sent {
  readonly revision: number;
  readonly hash: Buffer;
}

/** What was sent and not answered, and what to do when it is. Messages are answered in the order in which they were sent. */
interface Unanswered extends Sent {
  readonly answered: () => void;
  /** Set for a message that only brings the quarantine of this revision. */
  readonly quarantineRevision?: number;
}

/**
 * One sidecar's watch. Level-based: it is sent what is published now, at once and after every change, and nothing more until
 * it has answered; what changes meanwhile is sent once, in its latest state. Content that the sidecar has is not sent again,
 * and content that it refused is not sent again until it is different. A revision that changes nothing for a sidecar counts as
 * acknowledged: it goes on naming the one that last did.
 *
 * The quarantine goes by the side of that: it is the first thing that is sent, and is sent at once when it changes, whether or
 * not the sidecar has answered a snapshot. Of its changes too, at most one is unanswered.
 */
export class PolicySession {
  readonly #options: PolicySessionOptions;
  #have: Sent | undefined;
  #refused: { readonly hash: Buffer; readonly error: string } | undefined;
  /** It counts as one that does not have what it should, until it does or that is taken back. */
  #isRejected = false;
  /** At most one snapshot and one quarantine. */
  readonly #unanswered: Unanswered[] = [];
  /** The message before on the stream. */
  #last: Sent = NO_SNAPSHOT;
  /** Of the quarantine that was sent last. */
  #quarantineRevision = 0;
  #wake: () => void = () => undefined;
  #changed = true;
  #saidGoodbye = false;

  constructor(options: PolicySessionOptions) {
    this.#options = options;
    // Of no revision that was ever published, so that the first snapshot is always sent, if only its revision.
    if (options.haveHash.length > 0) this.#have = { revision: -1, hash: options.haveHash };
  }

  get saidGoodbye(): boolean {
    return this.#saidGoodbye;
  }

  /** Until the sidecar is done or goes away. Rejects with what the stream is to end with. */
  async run(): Promise<void> {
    const { published, workload, stream, quarantine } = this.#options;
    const quarantined = () => this.#offerQuarantine();
    const changed = () => {
      this.#changed = true;
      this.#wake();
    };
    const unsubscribe = [published.subscribe(changed), workload.labels.subscribe(changed)];
    if (quarantine !== undefined) unsubscribe.push(quarantine.subscribe(quarantined));
    stream.signal.addEventListener('abort', changed, { once: true });
    try {
      quarantined();
      await Promise.race([this.#listen(), this.#push()]);
    } finally {
      for (const end of unsubscribe) end();
    }
  }

  async #push(): Promise<void> {
    const { published, stream } = this.#options;
    for (;;) {
      stream.signal.throwIfAborted();
      if (this.#changed) {
        this.#changed = false;
        await this.#offer(published.current);
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }

  /** Sends what of `published` concerns this sidecar, if it is news, and waits for the answer. */
  async #offer(all: Published): Promise<void> {
    const { workload, connection, stream, bytes } = this.#options;
    const published = all.of?.(workload.instanceId) ?? all;
    const labels = workload.labels.current;
    if (labels === undefined) throw notRegistered(workload.spiffeId);
    const { hash, content, needs = [] } = published.for(workload.spiffeId, labels);
    const { revision } = published;
    const known = this.#have?.hash.equals(hash) === true;
    if (known && this.#have?.revision === revision && !this.#isRejected) return;
    connection.sent(revision, hash, published.bundleSequence);
    // It has acknowledged, on this stream, what the new revision has for it: what changed does not concern it, and costs nothing.
    if (known && (this.#have?.revision ?? -1) >= 0) {
      this.#accepted({ revision, hash });
      return;
    }
    if (this.#refused?.hash.equals(hash) === true) {
      this.#rejected({ revision, hash }, this.#refused.error);
      return;
    }
    const missing = needs.filter((feature) => this.#options.features?.includes(feature) !== true);
    const why =
      missing.length > 0
        ? tooOld(missing)
        : !known && content.length > MAX_CONTENT_BYTES
          ? tooLarge(content)
          : undefined;
    if (why !== undefined) {
      this.#rejected({ revision, hash }, why);
      return;
    }
    const answered = this.#expectAnswer({ revision, hash });
    await stream.send(bytes.of(published, { hash, content: known ? undefined : content }));
    await answered;
  }

  /** Sends the quarantine, if it is news and the one before was answered; a change meanwhile follows the answer. */
  #offerQuarantine(): void {
    const { quarantine, quarantineBytes, stream, clock, features } = this.#options;
    // One that does not understand it would take the message for a snapshot, and answer it as one.
    if (quarantine === undefined || features?.includes('quarantine') !== true || stream.signal.aborted) return;
    const isWaiting = this.#unanswered.some((each) => each.quarantineRevision !== undefined);
    const { current } = quarantine;
    if (isWaiting || current.revision === this.#quarantineRevision) return;
    this.#quarantineRevision = current.revision;
    const before = this.#last;
    void this.#expectAnswer({ ...before, quarantineRevision: current.revision }).then(() => this.#offerQuarantine());
    stream.write(quarantineBytes.of(current, { ...before, publishedAt: clock.now() }));
  }

  /** To be called before it is sent. Resolves with the answer, or when the stream is over; ends the stream when it takes too long. */
  #expectAnswer(sent: Omit<Unanswered, 'answered'>): Promise<void> {
    const { clock, limits, stream } = this.#options;
    this.#last = { revision: sent.revision, hash: sent.hash };
    return new Promise((resolve) => {
      const cancel = clock.after(limits.ackTimeoutMs, () =>
        stream.abort(
          new AppError('deadline-exceeded', `A snapshot was not acknowledged within ${limits.ackTimeoutMs / 1000} s.`),
        ),
      );
      const answered = () => {
        cancel();
        stream.signal.removeEventListener('abort', answered);
        resolve();
      };
      stream.signal.addEventListener('abort', answered, { once: true });
      this.#unanswered.push({ ...sent, answered });
    });
  }

  async #listen(): Promise<void> {
    for (;;) {
      const message = await this.#options.stream.receive();
      if (message === undefined) return;
      const said = fromPolicyMessage(message);
      if (said.kind === 'goodbye') {
        this.#saidGoodbye = true;
        return;
      }
      if (said.kind === 'hello') throw new AppError('invalid', 'hello comes once, first.');
      this.#answer(said);
    }
  }

  #accepted({ revision, hash }: Sent): void {
    this.#have = { revision, hash };
    this.#refused = undefined;
    this.#isRejected = false;
    this.#options.connection.ack(revision, hash);
  }

  #rejected({ revision, hash }: Sent, why: string): void {
    this.#isRejected = true;
    this.#options.connection.nack(revision, hash, why);
  }

  #answer(said: Extract<PolicyMessage, { readonly kind: 'ack' | 'nack' }>): void {
    const [sent] = this.#unanswered;
    if (sent === undefined || sent.revision !== said.revision || !sent.hash.equals(said.hash)) {
      throw new AppError('invalid', `${said.kind} names a snapshot that is not waiting for an answer.`);
    }
    this.#unanswered.shift();
    const { connection } = this.#options;
    if (said.kind === 'ack' && said.quarantineRevision !== undefined) connection.quarantined?.(said.quarantineRevision);
    if (sent.quarantineRevision !== undefined) {
      // It may have a newer one, of another replica. What is older, or refused, is not in force: it must not look as if it were.
      const inForce = said.kind === 'ack' ? (said.quarantineRevision ?? 0) : 0;
      if (inForce < sent.quarantineRevision) throw new AppError('invalid', 'The quarantine was not put in force.');
    } else if (said.kind === 'ack') {
      this.#accepted(sent);
    } else {
      this.#refused = { hash: sent.hash, error: said.error };
      this.#rejected(sent, said.error);
    }
    sent.answered();
  }
}

/** What stands beside the content is small. */
const MAX_CONTENT_BYTES = MAX_SNAPSHOT_BYTES - 1024;

/** The stream would end, and so would the next one. */
function tooLarge(content: Buffer): string {
  return `The policies of this workload have ${content.length} bytes, and a message ${MAX_CONTENT_BYTES}: they were not sent. Delete some, or select fewer workloads with them.`;
}

/** Half a snapshot would be another policy than the one that was decided: the sidecar goes on with its last good one. */
function tooOld(missing: readonly string[]): string {
  return `The sidecar does not understand ${missing.join(', ')}, which its snapshot needs: it was not sent. Upgrade the sidecar.`;
}
