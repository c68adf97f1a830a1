import { generateKeyPair } from 'node:crypto';
import { promisify } from 'node:util';
import { Backoff } from '../../../base/backoff.ts';
import type { Clock } from '../../../base/clock.ts';
import { AppError, toAppError } from '../../../base/errors.ts';
import type { Logger } from '../../../base/log.ts';
import type { RandomBytes } from '../../../base/random.ts';
import { uniform } from '../../../base/random.ts';
import type { Watch } from '../../../base/watch.ts';
import { WatchSource } from '../../../base/watch.ts';
import type { TrustBundle } from '../../../core/identity/bundle.ts';
import { parseCertificate } from '../../../core/identity/certificate.ts';
import { verifyPeer } from '../../../core/identity/chain.ts';
import { createCsr } from '../../../core/identity/csr.ts';
import type { KeyPair } from '../../../core/identity/keys.ts';
import { hasRoot, rootFingerprintOf } from '../../../core/identity/root-of.ts';
import { isExpired } from '../../../core/identity/selectors.ts';
import type { Grant } from '../../../core/identity/workload-entry.ts';
import type { IssuedCertificate } from '../../../wire/identity.ts';
import type { SignItem } from '../../../wire/identity-sign.ts';
import type { AgentState, HeldSvid } from './agent-identities.ts';

export interface SlotContext {
  readonly state: Watch<AgentState | undefined>;
  readonly sign: (item: SignItem) => Promise<IssuedCertificate>;
  readonly makeKey: () => Promise<KeyPair>;
  /** A chain as it is kept for hours, without the message that it came in. */
  readonly keep: (chain: readonly Buffer[]) => readonly Buffer[];
  /** Of a tainted root: within this time, each at a moment of its own, all SVIDs below it are replaced. */
  readonly rekeySpreadMs: number;
  readonly clock: Clock;
  readonly random: RandomBytes;
  readonly logger: Logger;
}

const generate = promisify(generateKeyPair);

/** A new ECDSA P-256 key pair, made by a thread of its own: a burst of workloads does not hold up those that are there. */
export function makeKeyPair(): Promise<KeyPair> {
  return generate('ec', { namedCurve: 'P-256' });
}

/** What is known of an SVID beside what is handed out. */
interface Held {
  readonly svid: HeldSvid;
  /** Fingerprint of the root. */
  readonly root: string | undefined;
  /** Its root was tainted already when it was signed. */
  readonly bornTainted: boolean;
  /** Where in the spread of a re-key it stands, in [0, 1): drawn once, or every change of the bundle would draw anew. */
  readonly lot: number;
  /** Names in the certificate besides the SPIFFE ID. */
  readonly dnsNames: string;
  /** Milliseconds since the epoch. */
  readonly renewAt: number;
}

/** The X.509-SVID of one grant: signed when it is first wanted, and renewed while it is wanted. */
export class SvidSlot {
  readonly #grant: Grant;
  readonly #c: SlotContext;
  readonly #svid = new WatchSource<HeldSvid | undefined>(undefined);
  readonly #backoff: Backoff;
  #held: Held | undefined;
  #failure: AppError | undefined;
  #wanted = false;
  #signing = false;
  #closed = false;
  /** After a failure, nobody asks again before that, whoever comes and goes. Milliseconds since the epoch. */
  #nextTryAt = 0;
  /** When we first saw that the root of what is held is tainted. */
  #taintedSince: number | undefined;
  #cancelRenewal: () => void = () => undefined;
  #cancelExpiry: () => void = () => undefined;

  constructor(grant: Grant, context: SlotContext) {
    this.#grant = grant;
    this.#c = context;
    this.#backoff = new Backoff({ initialMs: 200, maxMs: 30_000, random: context.random });
  }

  get svid(): Watch<HeldSvid | undefined> {
    return this.#svid;
  }

  get failure(): AppError | undefined {
    return this.#failure;
  }

  /** Somebody wants it from now on, or nobody does. */
  want(wanted: boolean): void {
    this.#wanted = wanted;
    this.#cancelRenewal();
    if (wanted) this.#plan();
  }

  /** The control plane said something. */
  stateChanged(before: AgentState | undefined, now: AgentState): void {
    if (!this.#isGranted(now)) {
      this.#cancelRenewal();
      this.#drop(notGranted(this.#grant));
      return;
    }
    this.#watchEnd();
    if (!this.#wanted) return;
    const held = this.#held;
    const isBack = now.connected && before?.connected !== true;
    if (held === undefined) {
      // Not again while a try is under way, nor for every change of something else.
      if (isBack || before === undefined || !this.#isGranted(before)) {
        this.#nextTryAt = 0;
        this.#plan();
      }
    } else if (now.bundle !== before?.bundle || this.#dnsNames(now) !== held.dnsNames) {
      this.#plan();
    }
  }

  close(): void {
    this.#closed = true;
    this.#wanted = false;
    this.#cancelRenewal();
    this.#cancelExpiry();
  }

  /** Decides when the next one is signed. */
  #plan(): void {
    const now = this.#c.state.current;
    if (now === undefined) {
      this.#fail(new AppError('unavailable', 'The agent has not heard from the control plane yet.'));
      return;
    }
    if (!this.#isGranted(now)) {
      this.#drop(notGranted(this.#grant));
      return;
    }
    const held = this.#held;
    if (held === undefined || this.#dnsNames(now) !== held.dnsNames) this.#signSoon(0);
    else this.#signSoon(this.#untilRenewal(held, now.bundle));
  }

  #untilRenewal(held: Held, bundle: TrustBundle): number {
    const { clock, rekeySpreadMs } = this.#c;
    const { root, svid, renewAt, bornTainted, lot } = held;
    const now = clock.now();
    const usualMs = renewAt - now;
    if (root === undefined) return usualMs;
    // Nobody verifies it any more.
    if (!hasRoot(bundle, root)) return 0;
    if (bundle.tainted?.includes(root) !== true) {
      this.#taintedSince = undefined;
      return usualMs;
    }
    // It still verifies, so there is time to spread.
    this.#taintedSince ??= now;
    const since = this.#taintedSince;
    const spreadMs = Math.min(rekeySpreadMs, Math.max(0, svid.notAfter - since) / 2) * lot;
    // The control plane signs with a tainted root: asking at once would bring the same again.
    return Math.min(usualMs, since + spreadMs + (bornTainted ? rekeySpreadMs : 0) - now);
  }

  #signSoon(afterMs: number): void {
    this.#cancelRenewal();
    const ms = Math.max(afterMs, this.#nextTryAt - this.#c.clock.now());
    if (ms <= 0) {
      void this.#sign();
      return;
    }
    this.#cancelRenewal = this.#c.clock.after(ms, () => void this.#sign());
  }

  /** One at a time. Never rejects. */
  async #sign(): Promise<void> {
    if (this.#signing) return;
    this.#signing = true;
    try {
      this.#hold(await this.#obtain());
    } catch (cause) {
      this.#tryLater(toAppError(cause));
    }
    this.#signing = false;
    // Also when something changed meanwhile.
    if (this.#wanted) this.#plan();
  }

  async #obtain(): Promise<Held> {
    const { sign, makeKey, clock, random, state, keep } = this.#c;
    const { entry, variables, spiffeId } = this.#grant;
    const key = await makeKey();
    const before = state.current;
    const issued = await sign({ entryId: entry.id, csr: createCsr(key.privateKey), variables });
    const now = state.current;
    if (now === undefined || !this.#isGranted(now)) throw notGranted(this.#grant);
    const peer = verifyPeer(issued.chain, now.bundle, { now: clock.now() });
    if (peer.id.uri !== spiffeId) {
      throw new AppError('peer-refused', `A certificate for ${peer.id.uri} came instead of ${spiffeId}.`);
    }
    const leaf = issued.chain[0];
    const spki = key.publicKey.export({ type: 'spki', format: 'der' });
    if (leaf === undefined || !parseCertificate(leaf).publicKey.spki.equals(spki)) {
      throw new AppError('peer-refused', 'The certificate is for another key than the one that was made for it.');
    }
    const lifeMs = peer.notAfter - clock.now();
    const root = rootFingerprintOf(issued.chain, now.bundle);
    return {
      svid: Object.freeze({
        spiffeId,
        chain: keep(issued.chain),
        privateKey: key.privateKey,
        notAfter: peer.notAfter,
      }),
      root,
      lot: uniform(random),
      bornTainted: root !== undefined && now.bundle.tainted?.includes(root) === true,
      // What was asked for may have been signed before the change: then it is asked for again.
      dnsNames: before === undefined ? this.#dnsNames(now) : this.#dnsNames(before),
      renewAt: clock.now() + (lifeMs / 2) * (0.9 + 0.2 * uniform(random)),
    };
  }

  #hold(held: Held): void {
    if (this.#closed) return;
    this.#held = held;
    this.#taintedSince = undefined;
    this.#failure = undefined;
    this.#nextTryAt = 0;
    this.#backoff.reset();
    this.#watchEnd();
    this.#svid.set(held.svid);
  }

  /** It must not be used for longer than it is valid, nor than its entry; an entry that expires is news that nobody sends. */
  #watchEnd(): void {
    const { clock, state } = this.#c;
    const held = this.#held;
    this.#cancelExpiry();
    if (held === undefined) return;
    const entryEnd = state.current?.entries.get(this.#grant.entry.id)?.expiresAt ?? Number.POSITIVE_INFINITY;
    const { notAfter, spiffeId } = held.svid;
    this.#cancelExpiry = clock.after(Math.min(notAfter, entryEnd) - clock.now(), () => {
      if (entryEnd <= notAfter) {
        this.#cancelRenewal();
        this.#drop(notGranted(this.#grant));
      } else this.#drop(this.#failure ?? new AppError('unavailable', `The SVID of ${spiffeId} has expired.`));
    });
  }

  #tryLater(error: AppError): void {
    const { clock, logger } = this.#c;
    const { spiffeId, entry } = this.#grant;
    logger.warn({ err: error, spiffeId, entry: entry.id }, 'an X.509-SVID could not be signed');
    this.#nextTryAt = clock.now() + Math.max(this.#backoff.nextMs(), (error.retryAfterSeconds ?? 0) * 1000);
    this.#fail(error);
  }

  #fail(error: AppError): void {
    this.#failure = error;
    if (this.#held === undefined) this.#svid.set(undefined);
  }

  /** It must not be used any more. */
  #drop(why: AppError): void {
    this.#cancelExpiry();
    const wasThere = this.#held !== undefined || this.#failure?.message !== why.message;
    this.#held = undefined;
    this.#failure = why;
    if (wasThere) this.#svid.set(undefined);
  }

  #isGranted(state: AgentState): boolean {
    const entry = state.entries.get(this.#grant.entry.id);
    return (
      entry !== undefined && entry.spiffeId === this.#grant.entry.spiffeId && !isExpired(entry, this.#c.clock.now())
    );
  }

  #dnsNames(state: AgentState): string {
    return state.entries.get(this.#grant.entry.id)?.dnsNames.join() ?? '';
  }
}

function notGranted({ spiffeId }: Grant): AppError {
  return new AppError('not-found', `${spiffeId} is not registered for this agent any more.`);
}
