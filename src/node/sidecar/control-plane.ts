import type { Clock } from '../../base/clock.ts';
import type { Watch } from '../../base/watch.ts';
import { WatchSource } from '../../base/watch.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
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

/**
 * The connection to the control plane. It is made anew with every certificate and bundle; streams on the old one move over
 * when they see that `clients` has changed. The library reconnects by itself while the control plane is away.
 */
export class ControlPlane {
  readonly #clients: WatchSource<ControlPlaneClients>;
  readonly #unsubscribe: readonly (() => void)[];

  constructor(o: {
    /** host:port */
    readonly server: string;
    readonly identity: Watch<Svid>;
    readonly bundle: Watch<TrustBundle>;
    readonly clock: Clock;
  }) {
    const make = (): ControlPlaneClients => {
      const credentials = controlPlaneCredentials({
        bundle: o.bundle.current,
        svid: o.identity.current,
        clock: o.clock,
      });
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
      const old = this.#clients.current;
      this.#clients.set(make());
      // Calls in flight end by themselves; nothing new begins on it.
      old.policy.close();
    };
    this.#unsubscribe = [o.identity.subscribe(renew), o.bundle.subscribe(renew)];
  }

  get clients(): Watch<ControlPlaneClients> {
    return this.#clients;
  }

  close(): void {
    for (const stop of this.#unsubscribe) stop();
    this.#clients.current.policy.close();
  }
}
