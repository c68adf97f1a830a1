import type { KeyObject } from 'node:crypto';
import { createPublicKey } from 'node:crypto';
import { Backoff } from '../../base/backoff.ts';
import type { Clock } from '../../base/clock.ts';
import { sleep } from '../../base/clock.ts';
import { makePrivateDirectory, readSecretFile } from '../../base/durable.ts';
import { AppError } from '../../base/errors.ts';
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
import type { IdentitySource } from './enroll.ts';
import type { Svid } from './svid.ts';
import type { StoredIdentity } from './svid-store.ts';
import { SvidStore } from './svid-store.ts';

export interface SvidKeeperOptions {
  /** Holds `identity.json` (0600): key, chain and bundle, so that a restart needs no new token. */
  readonly stateDirectory: string;
  readonly source: IdentitySource;
  /** Read only when there is no certificate that is still valid. */
  readonly joinTokenFile?: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random?: RandomBytes;
}

/**
 * Holds the identity of this process: enrolls once, keeps it over restarts, and renews it at half of its life (± 10 %, so
 * that sidecars which started together do not stay together), each time with a new key that never leaves the process but
 * for the state directory.
 */
export class SvidKeeper {
  readonly #o: SvidKeeperOptions;
  readonly #random: RandomBytes;
  readonly #store: SvidStore;
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

  /** Renews until `signal` aborts. A failure is logged and tried again: it never ends what works. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, logger } = this.#o;
    const backoff = new Backoff({ initialMs: 1_000, maxMs: 60_000, random: this.#random });
    const { notBefore } = this.#current.current;
    let delayMs = this.#untilRenewal(notBefore);
    while (!signal.aborted) {
      await sleep(clock, delayMs, signal);
      if (signal.aborted) return;
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

  #untilRenewal(begin: number): number {
    const half = ((this.#current.current.notAfter - begin) / 2) * (0.9 + 0.2 * uniform(this.#random));
    return Math.max(0, begin + half - this.#o.clock.now());
  }

  async #renew(): Promise<void> {
    const { clock, source, logger } = this.#o;
    const current = this.#current.current;
    if (clock.now() > current.notAfter) {
      // Too late to renew; a token that was put into place since then helps.
      this.#publish(await enroll(this.#o, this.#store, current));
      return;
    }
    const key = generateKeyPair();
    const bundle = this.#bundle.current;
    const issued = await source.renew(current, bundle, createCsr(key.privateKey));
    const svid = accept(issued, key.privateKey, bundle, clock.now());
    if (svid.id.uri !== current.id.uri || svid.instanceId !== current.instanceId) {
      throw new AppError('peer-refused', `A certificate for ${svid.id.uri} came instead of our own.`);
    }
    await this.#save({ svid });
    this.#current.set(svid);
    logger.info({ spiffeId: svid.id.uri, notAfter: svid.notAfter }, 'certificate renewed');
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
  const backoff = new Backoff({
    initialMs: 200,
    maxMs: 5_000,
    ...(o.random === undefined ? {} : { random: o.random }),
  });
  for (;;) {
    try {
      return await enroll(o, store, stored?.svid);
    } catch (error) {
      const away = error instanceof AppError && (error.code === 'unavailable' || error.code === 'deadline-exceeded');
      if (!away || signal?.aborted) throw error;
      o.logger.warn({ err: error }, 'enrollment waits for the control plane');
      await sleep(o.clock, backoff.nextMs(), signal);
      if (signal?.aborted) throw error;
    }
  }
}

/** Trades the join token for an identity, on a new key; durable once it resolves. */
async function enroll(o: SvidKeeperOptions, store: SvidStore, expired: Svid | undefined): Promise<StoredIdentity> {
  const token = await readToken(o.joinTokenFile);
  if (token === undefined) {
    throw new AppError(
      'unauthenticated',
      expired === undefined
        ? 'There is no certificate yet and no join token. Make a join token for the entry of this workload and name its file.'
        : `The certificate of ${expired.id.uri} has expired. Make a new join token for its entry and put it into the join token file.`,
    );
  }
  const key = generateKeyPair();
  const { certificate, bundle } = await o.source.attest(token, createCsr(key.privateKey));
  const identity = { svid: accept(certificate, key.privateKey, bundle, o.clock.now()), bundle };
  await store.save(identity);
  o.logger.info({ spiffeId: identity.svid.id.uri, instanceId: identity.svid.instanceId }, 'enrolled');
  return identity;
}

async function readToken(file: string | undefined): Promise<string | undefined> {
  const text = file === undefined ? undefined : (await readSecretFile(file))?.toString('utf8').trim();
  return text === '' ? undefined : text;
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
