import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import { isAgentId } from '../../core/identity/agent-id.ts';
import type { PeerIdentity } from '../../core/identity/chain.ts';
import type { NodesPort } from './services.ts';

/** What of a stream the gate needs. */
interface Cuttable {
  abort(reason: AppError): void;
}

type Callers = 'agents' | 'workloads' | 'both';

/** Who may call which method (S2). What is not in the table is for nobody, so a method that is new has to be put in. */
const allowed: ReadonlyMap<string, Callers> = new Map(
  Object.entries<Callers>({
    '/writ.v1.Identity/Watch': 'agents',
    '/writ.v1.Identity/SignX509': 'agents',
    '/writ.v1.Identity/SignWit': 'agents',
    '/writ.v1.Identity/SignJwt': 'both',
    '/writ.v1.Identity/Renew': 'both',
    '/writ.v1.Policy/Watch': 'workloads',
    '/writ.v1.Audit/Ship': 'both',
  }),
);

const names: Readonly<Record<Callers, string>> = {
  agents: 'agents',
  workloads: 'workloads',
  both: 'workloads and agents',
};

/**
 * How long streams may go on that were opened with the certificate before the one that is in use now: whoever renews moves
 * over by itself, within a breath; whoever copied a key does not.
 */
const SUPERSEDED_GRACE_MS = 30_000;

/** What every call with a client certificate passes after TLS (S2, S3): who may call this, and is this node still welcome. */
export class NodeGate {
  readonly #nodes: NodesPort;
  readonly #clock: Clock;

  constructor(options: { readonly nodes: NodesPort; readonly clock: Clock }) {
    this.#nodes = options.nodes;
    this.#clock = options.clock;
  }

  /** @param path of the method, as gRPC has it. Throws `forbidden`. */
  async check(path: string, peer: PeerIdentity): Promise<void> {
    const callers = allowed.get(path);
    const isAllowed = callers === 'both' || callers === (isAgentId(peer.id) ? 'agents' : 'workloads');
    if (!isAllowed) {
      const whom = callers === undefined ? 'nobody' : names[callers];
      throw new AppError('forbidden', `${path} is for ${whom}, and ${peer.id.uri} is none of them.`);
    }
    await this.#nodes.check(peer);
  }

  /** Ends a stream that has passed when its node is not welcome any more, until the returned function is called. */
  follow(peer: PeerIdentity, stream: Cuttable): () => void {
    let cancel: (() => void) | undefined;
    const look = () => {
      const refusal = this.#nodes.refusal(peer);
      if (refusal === undefined) return;
      if (refusal.why !== 'superseded') stream.abort(refusal.error);
      else cancel ??= this.#clock.after(SUPERSEDED_GRACE_MS, () => stream.abort(refusal.error));
    };
    const unwatch = this.#nodes.watch(peer.instanceId, look);
    // Between the check and now it may have changed.
    look();
    return () => {
      unwatch();
      cancel?.();
    };
  }
}
