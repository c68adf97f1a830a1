import type { Clock } from '../../base/clock.ts';
import type { RandomBytes } from '../../base/random.ts';
import { secureRandom, uniform } from '../../base/random.ts';
import type { Watch } from '../../base/watch.ts';
import { WatchSource } from '../../base/watch.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import { fingerprint } from '../../core/identity/bundle.ts';
import type { AuditClient } from '../../wire/gen/writ/v1/Audit.ts';
import type { IdentityClient } from '../../wire/gen/writ/v1/Identity.ts';
import type { PolicyClient } from '../../wire/gen/writ/v1/Policy.ts';
import { clients } from '../../wire/loader.ts';
import { channelOptions, controlPlaneCredentials } from '../agent/control-plane-tls.ts';
import type { Svid } from '../agent/svid.ts';

/** The control plane's services, called with one certificate. */
export interface ControlPlaneClients {
  readonly policy: PolicyClient;
  readonly audit: AuditClient;
  readonly identity: IdentityClient;
}

/** Within this time everybody has moved to a connection that goes by the new roots, each at a moment of its own. */
const SPREAD_MS = 30_000;

/**
 * The connection to the control plane. It is made anew with every certificate, and when the roots of the bundle change; streams
 * on the old one move over when they see that `clients` has changed. The library reconnects by itself while the control plane
 * is away.
 *
 * That a root was added is no hurry: the control plane's own certificate hangs from an older one for as long as there is one
 * that is not tainted. Nor is that one was retired, since nothing below it is alive. So a thousand nodes that hear of it at the
 * same time do not all come back at the same time. A root that was tainted may be in wrong hands: once it leaves, nothing that
 * was proved by it counts any more, at once.
 */
export class ControlPlane {
  readonly #clients: WatchSource<ControlPlaneClients>;
  readonly #unsubscribe: readonly (() => void)[];
  #cancelMove: (() => void) | undefined;

  constructor(o: {
    /** host:port */
    readonly server: string;
    readonly identity: Watch<Svid>;
    readonly bundle: Watch<TrustBundle>;
    readonly clock: Clock;
    readonly random?: RandomBytes;
  }) {
    let known: TrustBundle = o.bundle.current;
    // A mark of taint is gone together with the root.
    const tainted = new Set(known.tainted);
    const make = (): ControlPlaneClients => {
      known = o.bundle.current;
      const credentials = controlPlaneCredentials({ bundle: known, svid: o.identity.current, clock: o.clock });
      const policy = new clients.Policy(o.server, credentials, channelOptions);
      // One channel for all three: one connection.
      const shared = { ...channelOptions, channelOverride: policy.getChannel() };
      return {
        policy,
        audit: new clients.Audit(o.server, credentials, shared),
        identity: new clients.Identity(o.server, credentials, shared),
      };
    };
    this.#clients = new WatchSource(make());
    const renew = () => {
      this.#stay();
      const old = this.#clients.current;
      this.#clients.set(make());
      // Calls in flight end by themselves; nothing new begins on it.
      old.policy.close();
    };
    const bundleChanged = () => {
      const { roots } = o.bundle.current;
      for (const name of o.bundle.current.tainted ?? []) tainted.add(name);
      const left = known.roots.filter((root) => !holdsAll(roots, [root]));
      if (left.some((root) => tainted.has(fingerprint(root)))) renew();
      else if (left.length === 0 && holdsAll(known.roots, roots)) this.#stay();
      else this.#cancelMove ??= o.clock.after(SPREAD_MS * uniform(o.random ?? secureRandom), renew);
    };
    this.#unsubscribe = [o.identity.subscribe(renew), o.bundle.subscribe(bundleChanged)];
  }

  get clients(): Watch<ControlPlaneClients> {
    return this.#clients;
  }

  close(): void {
    for (const stop of this.#unsubscribe) stop();
    this.#stay();
    this.#clients.current.policy.close();
  }

  #stay(): void {
    this.#cancelMove?.();
    this.#cancelMove = undefined;
  }
}

function holdsAll(roots: readonly Buffer[], wanted: readonly Buffer[]): boolean {
  return wanted.every((one) => roots.some((root) => root.equals(one)));
}
