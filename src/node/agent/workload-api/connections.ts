import type { Socket } from 'node:net';
import type { Clock } from '../../../base/clock.ts';
import { AppError } from '../../../base/errors.ts';
import type { Logger } from '../../../base/log.ts';
import { RateLimit } from '../../../base/rate-limit.ts';
import type { Attestation, WorkloadAttestor } from '../attest-workload/attestor.ts';
import { attestWorkload } from '../attest-workload/attestor.ts';
import { becameAnother, openProcess, startTimeOf } from '../attest-workload/process-view.ts';
import type { AttestedCaller, Callers } from './caller.ts';
import type { PeerCredentials } from './peer-credentials.ts';
import { closePidfd, isAlive, peerCredentials } from './peer-credentials.ts';
import { Places } from './places.ts';

export interface CallerLimits {
  /** Connections at once; more are closed unanswered. Default 10,000. */
  readonly maxConnections: number;
  /** Of one user. Default 4,000. */
  readonly maxConnectionsPerUser: number;
  /** Streams that one process may have open at once. Default 100. */
  readonly maxStreamsPerProcess: number;
  /** Those of all processes of one user. Default 8,000. */
  readonly maxStreamsPerUser: number;
  /**
   * Calls of one process, and of all of one user, whose caller is being attested: that takes up to half a minute where a
   * daemon has to be asked, and a file of /proc is held open meanwhile. Default 200 and 2,000.
   */
  readonly maxAttestationsPerProcess: number;
  readonly maxAttestationsPerUser: number;
  /** Calls per second of one process, in the long run and at once. Default 500 and 1,000. */
  readonly callsPerSecond: number;
  readonly callBurst: number;
}

export const defaultCallerLimits: CallerLimits = Object.freeze({
  maxConnections: 10_000,
  maxConnectionsPerUser: 4_000,
  maxStreamsPerProcess: 100,
  maxStreamsPerUser: 8_000,
  maxAttestationsPerProcess: 200,
  maxAttestationsPerUser: 2_000,
  callsPerSecond: 500,
  callBurst: 1_000,
});

export interface ConnectionsOptions {
  readonly attestors: readonly WorkloadAttestor[];
  /** See `AttestOptions`. */
  readonly wants: (prefix: string) => boolean;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly limits?: Partial<CallerLimits>;
  /** Default the kernel's. */
  readonly credentialsOf?: (socket: Socket) => PeerCredentials;
  /** Default /proc. */
  readonly procRoot?: string;
}

interface Connection {
  readonly peer: PeerCredentials;
  readonly over: AbortController;
  /** When its process began: on a kernel without pidfds, what tells the process from a later one of its number. */
  readonly startTime: string;
}

/**
 * Who is at the other end of each connection. The gRPC library tells handlers no more of a connection than a text, its
 * "peer", which it takes from the socket: here each connection gets a name there, and by that name its caller is found.
 *
 * A process is attested anew for each call: it may have moved to another cgroup, or given up a group. That it has not become
 * another user is checked, since a connection can be shared: whoever shares one with a child that runs a set-user-ID program
 * would otherwise be taken for its user. Not solved: a process that shares its connection with another of the same user,
 * whose program differs; `unix:path` and `unix:sha256` do not hold against the user itself.
 *
 * Not solved, without pidfds (kernels before 6.5): a process that ends between connecting and being accepted, in those few
 * milliseconds, while its number goes to another process of the same user. What counts is the moment of accepting: a
 * connection that is held open and used later does not widen it.
 */
export class Connections implements Callers {
  readonly #o: ConnectionsOptions;
  readonly #limits: CallerLimits;
  readonly #rate: RateLimit;
  readonly #open = new Map<string, Connection>();
  readonly #perUser = new Map<number, number>();
  readonly #streams: readonly [Places, Places];
  readonly #attestations: readonly [Places, Places];
  #count = 0;
  #refusedAt = 0;

  constructor(o: ConnectionsOptions) {
    this.#o = o;
    this.#limits = { ...defaultCallerLimits, ...o.limits };
    this.#rate = new RateLimit({
      perSecond: this.#limits.callsPerSecond,
      burst: this.#limits.callBurst,
      clock: o.clock,
    });
    const { maxStreamsPerProcess, maxStreamsPerUser, maxAttestationsPerProcess, maxAttestationsPerUser } = this.#limits;
    const many = (max: number, who: string) =>
      new Places({ max, full: `The ${who} has ${max} streams open already. Close some.` });
    const busy = (max: number, who: string) =>
      new Places({ max, full: `The ${who} has ${max} calls already whose caller is being found out. Try again.` });
    this.#streams = [many(maxStreamsPerProcess, 'process'), many(maxStreamsPerUser, 'user')];
    this.#attestations = [busy(maxAttestationsPerProcess, 'process'), busy(maxAttestationsPerUser, 'user')];
  }

  /** Takes in a connection that was accepted just now; false when it is not wanted: destroy it. */
  admit(socket: Socket): boolean {
    let peer: PeerCredentials;
    try {
      if (this.#open.size >= this.#limits.maxConnections)
        throw new AppError('exhausted', 'There are too many connections.');
      peer = (this.#o.credentialsOf ?? peerCredentials)(socket);
    } catch (error) {
      this.#refused(error, {});
      return false;
    }
    const ofUser = this.#perUser.get(peer.uid) ?? 0;
    let startTime: string;
    try {
      if (ofUser >= this.#limits.maxConnectionsPerUser) {
        throw new AppError('exhausted', 'The user has too many connections.');
      }
      startTime = startTimeOf(peer.pid, this.#o.procRoot);
    } catch (error) {
      if (peer.pidfd !== undefined) closePidfd(peer.pidfd);
      this.#refused(error, { uid: peer.uid });
      return false;
    }
    this.#perUser.set(peer.uid, ofUser + 1);
    this.#count += 1;
    const name = `caller-${this.#count}`;
    const connection: Connection = { peer, over: new AbortController(), startTime };
    this.#open.set(name, connection);
    Object.defineProperty(socket, 'remoteAddress', { value: name, configurable: true });
    socket.once('close', () => this.#forget(name, connection));
    return true;
  }

  async attest(call: { getPeer(): string }): Promise<AttestedCaller & Attestation> {
    const connection = this.#open.get(call.getPeer());
    if (connection === undefined) throw new AppError('unavailable', 'The connection has ended.');
    this.#rate.take(String(connection.peer.pid));
    const release = takeBoth(this.#attestations, connection.peer);
    try {
      return await this.#attestNow(connection);
    } finally {
      release();
    }
  }

  async #attestNow(connection: Connection): Promise<AttestedCaller & Attestation> {
    const { pid, uid, gid } = connection.peer;
    const process = openProcess(pid, this.#o.procRoot);
    try {
      // Alive now, and opened before: so what was opened is the process that connected.
      this.#checkAlive(connection);
      const { startTime, owner } = process.view;
      if (connection.startTime !== startTime) throw ended();
      if (owner.uid !== uid || owner.gid !== gid) throw becameAnother();
      const attestation = await attestWorkload(this.#o.attestors, process.view, {
        wants: this.#o.wants,
        signal: connection.over.signal,
      });
      process.recheck();
      this.#checkAlive(connection);
      return Object.freeze({ pid, uid, gid, ...attestation, checkAlive: () => this.#checkAlive(connection) });
    } finally {
      process.close();
    }
  }

  /** Whose connection this is, by its name; undefined once it has ended. Nothing is attested. */
  userOf(name: string | undefined): number | undefined {
    return this.#open.get(name ?? '')?.peer.uid;
  }

  openStream(caller: AttestedCaller): () => void {
    return takeBoth(this.#streams, caller);
  }

  #checkAlive(connection: Connection): void {
    const { pid, pidfd } = connection.peer;
    if (connection.over.signal.aborted || (pidfd !== undefined && !isAlive(pidfd, pid))) throw ended();
  }

  #forget(name: string, connection: Connection): void {
    this.#open.delete(name);
    const { uid, pidfd } = connection.peer;
    const left = (this.#perUser.get(uid) ?? 1) - 1;
    if (left > 0) this.#perUser.set(uid, left);
    else this.#perUser.delete(uid);
    connection.over.abort(ended());
    if (pidfd !== undefined) closePidfd(pidfd);
  }

  /** At most once a second: refusing must not cost more than connecting. */
  #refused(error: unknown, fields: object): void {
    const now = this.#o.clock.now();
    if (now - this.#refusedAt < 1_000) return;
    this.#refusedAt = now;
    this.#o.logger.warn({ ...fields, err: error }, 'a connection was refused');
  }
}

/** A place of the process, and one of its user: both or none. */
function takeBoth(
  [ofProcess, ofUser]: readonly [Places, Places],
  caller: { readonly pid: number; readonly uid: number },
): () => void {
  const first = ofProcess.take(caller.pid);
  try {
    const second = ofUser.take(caller.uid);
    return () => {
      first();
      second();
    };
  } catch (error) {
    first();
    throw error;
  }
}

function ended(): AppError {
  return new AppError('forbidden', 'The process that connected has ended.');
}
