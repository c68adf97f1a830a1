import type { KeyObject } from 'node:crypto';
import { createPublicKey } from 'node:crypto';
import { Backoff } from '../../base/backoff.ts';
import type { Clock } from '../../base/clock.ts';
import { sleep } from '../../base/clock.ts';
import { makePrivateDirectory } from '../../base/durable.ts';
import { AppError, unreachable } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { RandomBytes } from '../../base/random.ts';
import { secureRandom, uniform } from '../../base/random.ts';
import type { Watch } from '../../base/watch.ts';
import { WatchSource } from '../../base/watch.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import { parseCertificate } from '../../core/identity/certificate.ts';
import { verifyPeer } from '../../core/identity/chain.ts';
import { createCsr } from '../../core/identity/csr.ts';
import { generateKeyPair } from '../../core/identity/keys.ts';
import type { IssuedCertificate } from '../../wire/identity.ts';
import type { AttestationProof, Prover } from './attest-node/proof.ts';
import { proverOf } from './attest-node/proof.ts';
import type { IdentitySource } from './enroll.ts';
import { rekeyWhenTainted } from './rekey.ts';
import type { Svid } from './svid.ts';
import type { StoredIdentity } from './svid-store.ts';
import { SvidStore } from './svid-store.ts';

export interface SvidKeeperOptions {
  /** Holds `identity.json` (0600): key, chain and bundle, so that a restart needs no new token. */
  readonly stateDirectory: string;
  readonly source: IdentitySource;
  /**
   * How this process proves what it is. A join token is read only when there is no certificate that is still valid, which is
   * then renewed; everything else is proved again each time instead of renewing.
   */
  readonly proof?: AttestationProof;
  /** Short for a proof by join token. */
  readonly joinTokenFile?: string;
  /** Whether it is an agent that asks. Default false: a workload. */
  readonly agent?: boolean;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random?: RandomBytes;
}

const REFUSAL_MS = 30_000;

/**
 * Holds the identity of this process: enrolls once, keeps it over restarts, and renews it at half of its life (± 10 %, so
 * that sidecars which started together do not stay together), each time with a new key that never leaves the process but
 * for the state directory.
 */
export class SvidKeeper {
  readonly #o: SvidKeeperOptions;
  readonly #random: RandomBytes;
  readonly #store: SvidStore;
  readonly #prover: Prover | undefined;
  /** Ends the wait for the next renewal. */
  #wake: () => void = () => undefined;
  #wanted = false;
  #refusedAt = Number.NEGATIVE_INFINITY;
  readonly #current: WatchSource<Svid>;
  readonly #bundle: WatchSource<TrustBundle>;
  /** What the file holds, or will hold after the last of the writes that are queued. */
  #stored: StoredIdentity;
  #writing: Promise<void> = Promise.resolve();

  /** Resolves with a valid identity; waits for a control plane that is away, until `signal` aborts. */
  static async open(o: SvidKeeperOptions, signal?: AbortSignal): Promise<SvidKeeper> {
    await makePrivateDirectory(o.stateDirectory);
    const store = new SvidStore(o.stateDirectory);
    const stored = await store.load();
    const usable = stored !== undefined && isUsable(stored, o);
    const identity = usable ? stored : await enrollPatiently(o, store, stored, signal);
    return new SvidKeeper(o, store, identity);
  }

  private constructor(o: SvidKeeperOptions, store: SvidStore, identity: StoredIdentity) {
    this.#o = o;
    this.#random = o.random ?? secureRandom;
    this.#store = store;
    this.#prover = proverFor(o);
    this.#current = new WatchSource(identity.svid);
    this.#bundle = new WatchSource(identity.bundle);
    this.#stored = identity;
  }

  get current(): Watch<Svid> {
    return this.#current;
  }

  /** The bundle that came with enrollment, or what was adopted since. */
  get bundle(): Watch<TrustBundle> {
    return this.#bundle;
  }

  /** Takes over a bundle that the control plane pushed, and keeps it over restarts. */
  async adopt(bundle: TrustBundle): Promise<void> {
    this.#bundle.set(bundle);
    await this.#save({ bundle });
  }

  /** Gets another certificate now, on a new key, instead of at its time: this one is not to be relied on any more. */
  replace(): void {
    this.#wanted = true;
    this.#wake();
  }

  /**
   * The control plane has refused the certificate (evicted, superseded, banned). What can prove itself again does so now, at most
   * every 30 s, however often this is called; a join token is used up, and all that would help is another.
   */
  refused(): void {
    const now = this.#o.clock.now();
    if (this.#prover?.repeatable !== true || Math.abs(now - this.#refusedAt) < REFUSAL_MS) return;
    this.#refusedAt = now;
    this.replace();
  }

  /**
   * Renews until `signal` aborts: in time, and when the root of the certificate is tainted. A failure is logged and tried again:
   * it never ends what works.
   */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, logger } = this.#o;
    const end = rekeyWhenTainted({
      current: this.#current,
      bundle: this.#bundle,
      replace: () => this.replace(),
      clock,
      random: this.#random,
      logger,
    });
    try {
      await this.#renewInTime(signal);
    } finally {
      end();
    }
  }

  async #renewInTime(signal: AbortSignal): Promise<void> {
    const { clock, logger } = this.#o;
    const backoff = new Backoff({ initialMs: 1_000, maxMs: 60_000, random: this.#random });
    const { notBefore } = this.#current.current;
    let delayMs = this.#untilRenewal(notBefore);
    while (!signal.aborted) {
      await this.#sleep(delayMs, signal);
      if (signal.aborted) return;
      this.#wanted = false;
      try {
        await this.#renew();
        backoff.reset();
        // Counted from now: issuers backdate, and a short life must not be over as soon as it begins.
        delayMs = this.#untilRenewal(clock.now());
      } catch (error) {
        delayMs = backoff.nextMs();
        const expired = clock.now() > this.#current.current.notAfter;
        logger[expired ? 'error' : 'warn'](
          { err: error, notAfter: this.#current.current.notAfter },
          expired ? 'the certificate has expired and calls are refused' : 'the certificate could not be renewed yet',
        );
      }
    }
  }

  /** Until it is time, somebody wants it now, or `signal` aborts. */
  async #sleep(ms: number, signal: AbortSignal): Promise<void> {
    if (this.#wanted) return;
    const awake = new AbortController();
    this.#wake = () => awake.abort();
    await sleep(this.#o.clock, ms, AbortSignal.any([signal, awake.signal]));
    this.#wake = () => undefined;
  }

  #untilRenewal(begin: number): number {
    const half = ((this.#current.current.notAfter - begin) / 2) * (0.9 + 0.2 * uniform(this.#random));
    return Math.max(0, begin + half - this.#o.clock.now());
  }

  async #renew(): Promise<void> {
    const { clock, source, logger } = this.#o;
    const current = this.#current.current;
    const bundle = this.#bundle.current;
    if (clock.now() > current.notAfter) {
      // Too late to renew; what proves it may have been put into place since then.
      this.#publish(await enroll(this.#o, this.#store, this.#prover, current));
      return;
    }
    if (this.#prover?.repeatable === true) {
      await this.#attestAgain(this.#prover, { svid: current, bundle });
      return;
    }
    const key = generateKeyPair();
    const issued = await source.renew(current, bundle, createCsr(key.privateKey));
    const svid = accept(issued, key.privateKey, bundle, clock.now());
    if (svid.id.uri !== current.id.uri || svid.instanceId !== current.instanceId) {
      throw new AppError('peer-refused', `A certificate for ${svid.id.uri} came instead of our own.`);
    }
    await this.#save({ svid });
    this.#current.set(svid);
    logger.info({ spiffeId: svid.id.uri, notAfter: svid.notAfter }, 'certificate renewed');
  }

  /** What can prove itself again does so, with the certificate that it has in its hand, so that it stays the same instance. */
  async #attestAgain(prover: Prover, held: StoredIdentity): Promise<void> {
    const identity = await attest(this.#o, prover, held);
    const { svid, bundle } = identity;
    if (svid.id.uri !== held.svid.id.uri) {
      throw new AppError('peer-refused', `A certificate for ${svid.id.uri} came instead of our own.`);
    }
    // The bundle that is pushed meanwhile is newer than what came with this answer, or the same.
    const newer = bundle.sequence > this.#bundle.current.sequence;
    await this.#save(newer ? identity : { svid });
    if (newer) this.#bundle.set(bundle);
    this.#current.set(svid);
    this.#o.logger.info({ spiffeId: svid.id.uri, notAfter: svid.notAfter }, 'attested again');
  }

  #publish(identity: StoredIdentity): void {
    this.#stored = identity;
    this.#bundle.set(identity.bundle);
    this.#current.set(identity.svid);
  }

  /** One write at a time, each with the latest of everything: a slow one never puts something old back. */
  #save(change: Partial<StoredIdentity>): Promise<void> {
    this.#stored = { ...this.#stored, ...change };
    this.#writing = this.#writing.catch(() => undefined).then(() => this.#store.save(this.#stored));
    return this.#writing;
  }
}

function isUsable({ svid, bundle }: StoredIdentity, o: SvidKeeperOptions): boolean {
  try {
    checkKey(svid);
    verifyPeer(svid.chain, bundle, { now: o.clock.now() });
    return true;
  } catch (error) {
    o.logger.warn({ err: error }, 'the certificate in the state directory is no longer valid');
    return false;
  }
}

async function enrollPatiently(
  o: SvidKeeperOptions,
  store: SvidStore,
  stored: StoredIdentity | undefined,
  signal: AbortSignal | undefined,
): Promise<StoredIdentity> {
  const prover = proverFor(o);
  const backoff = new Backoff({
    initialMs: 200,
    maxMs: 5_000,
    ...(o.random === undefined ? {} : { random: o.random }),
  });
  for (;;) {
    try {
      return await enroll(o, store, prover, stored?.svid);
    } catch (error) {
      if (!isTemporary(error) || signal?.aborted) throw error;
      o.logger.warn({ err: error }, 'enrollment waits for the control plane');
      await sleep(o.clock, backoff.nextMs(), signal);
      if (signal?.aborted) throw error;
    }
  }
}

/** Thousands of nodes may come at once from one address; whoever is told to come back later does. */
function isTemporary(error: unknown): boolean {
  if (!(error instanceof AppError)) return false;
  return error.code === 'unavailable' || error.code === 'deadline-exceeded' || error.code === 'exhausted';
}

/** Proves what this process is and gets its first identity, on a new key; durable once it resolves. */
async function enroll(
  o: SvidKeeperOptions,
  store: SvidStore,
  prover: Prover | undefined,
  expired: Svid | undefined,
): Promise<StoredIdentity> {
  const identity = await attest(o, prover, undefined, expired);
  await store.save(identity);
  o.logger.info({ spiffeId: identity.svid.id.uri, instanceId: identity.svid.instanceId }, 'enrolled');
  return identity;
}

async function attest(
  o: SvidKeeperOptions,
  prover: Prover | undefined,
  current: StoredIdentity | undefined,
  expired?: Svid,
): Promise<StoredIdentity> {
  const proof = await prover?.read();
  if (prover === undefined || proof === undefined) throw nothingToProve(o, expired);
  const { privateKey } = generateKeyPair();
  const { certificate, bundle } = await o.source.attest({
    method: prover.method,
    proof,
    csr: createCsr(privateKey),
    agent: o.agent ?? false,
    current,
  });
  return { svid: accept(certificate, privateKey, bundle, o.clock.now()), bundle };
}

function proverFor(o: SvidKeeperOptions): Prover | undefined {
  const proof: AttestationProof | undefined =
    o.proof ?? (o.joinTokenFile === undefined ? undefined : { method: 'join_token', tokenFile: o.joinTokenFile });
  return proof === undefined ? undefined : proverOf(proof, o.random ?? secureRandom);
}

function nothingToProve(o: SvidKeeperOptions, expired: Svid | undefined): AppError {
  const method = o.proof?.method ?? 'join_token';
  switch (method) {
    case 'join_token': {
      const whose = o.agent === true ? 'an agent' : 'the entry of this workload';
      return new AppError(
        'unauthenticated',
        expired === undefined
          ? `There is no certificate yet and no join token. Make a join token for ${whose} and name its file.`
          : `The certificate of ${expired.id.uri} has expired. Make a new join token for its entry and put it into the join token file.`,
      );
    }
    case 'x509pop':
      return new AppError('unauthenticated', 'The certificate of this machine, or its key, is not where it should be.');
    case 'k8s_psat':
    case 'oidc':
      return new AppError('unauthenticated', 'The file for the token that proves what this is is missing or empty.');
    default:
      return unreachable(method);
  }
}

/** What we were given must be what we asked for: on our key, valid, below the bundle. */
function accept(issued: IssuedCertificate, privateKey: KeyObject, bundle: TrustBundle, now: number): Svid {
  const peer = verifyPeer(issued.chain, bundle, { now });
  const svid: Svid = Object.freeze({
    // From the certificate, not from what stands beside it.
    id: peer.id,
    instanceId: peer.instanceId,
    chain: issued.chain,
    privateKey,
    notBefore: peer.notBefore,
    notAfter: peer.notAfter,
  });
  checkKey(svid);
  return svid;
}

function checkKey(svid: Svid): void {
  const leaf = svid.chain[0];
  const own = createPublicKey(svid.privateKey).export({ type: 'spki', format: 'der' });
  if (leaf === undefined || !parseCertificate(leaf).publicKey.spki.equals(own)) {
    throw new AppError('peer-refused', 'The certificate is for another key than ours.');
  }
}
