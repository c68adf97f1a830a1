import { closeSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Socket } from 'node:net';
import { isMissing, reason } from '../../../base/durable.ts';
import { AppError } from '../../../base/errors.ts';

/** Who connected to a Unix socket, as the kernel noted it at that moment: nothing of it comes from the caller. */
export interface PeerCredentials {
  /** Process id, in the agent's own PID namespace. */
  readonly pid: number;
  /** Effective ones. */
  readonly uid: number;
  readonly gid: number;
  /**
   * A file descriptor that stands for the process itself (pidfd), so that another process with the same number is never
   * taken for it; undefined on kernels before 6.5 only. Close it by `closePidfd`.
   */
  readonly pidfd: number | undefined;
}

const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const SO_PEERPIDFD = 77;
/** Where the kernel does not know the option. */
const ENOPROTOOPT = 92;

/** 0, or what `errno` says. */
type GetSockOpt = (fd: number, level: number, name: number, value: Buffer, length: number[]) => number;

/**
 * SO_PEERCRED (unix(7)) of an accepted connection: the Workload API asks its callers for no proof, the kernel gives it
 * (SPIFFE_Workload_Endpoint.md §5). To be asked at once when the connection is accepted: the file descriptor must be open.
 *
 * @param ask the kernel's getsockopt(2), unless given
 * @throws AppError `unavailable` where the kernel cannot tell, `forbidden` when the process has ended meanwhile
 */
export function peerCredentials(socket: Socket, ask: GetSockOpt = getsockopt()): PeerCredentials {
  const fd = fileDescriptor(socket);
  const credentials = Buffer.alloc(12);
  if (ask(fd, SOL_SOCKET, SO_PEERCRED, credentials, [12]) !== 0) throw unknown('the kernel did not say who called');
  const pid = credentials.readInt32LE(0);
  if (pid <= 0) {
    throw unknown('it runs in a PID namespace that the agent does not see; run the agent in the host PID namespace');
  }
  return Object.freeze({
    pid,
    uid: credentials.readUInt32LE(4),
    gid: credentials.readUInt32LE(8),
    pidfd: peerPidfd(fd, ask),
  });
}

/**
 * A kernel that has pidfds and gives none has none to give: the process ended before its connection was accepted, and its
 * number may be another's by now. (Kernels 6.5 to 6.15 say EINVAL then; later ones give a pidfd that is not alive.)
 */
function peerPidfd(fd: number, ask: GetSockOpt): number | undefined {
  const value = Buffer.alloc(4);
  const error = ask(fd, SOL_SOCKET, SO_PEERPIDFD, value, [4]);
  if (error === 0) return value.readInt32LE(0);
  if (error === ENOPROTOOPT) return undefined;
  if (outOfDescriptors.includes(error)) throw unknown('the agent has too many files open');
  throw new AppError('forbidden', 'The process that connected has ended.');
}

/** ENFILE, EMFILE. */
const outOfDescriptors: readonly number[] = [23, 24];

/**
 * Whether the process that the pidfd stands for has not been reaped: only then does its number still belong to it. Throws
 * `unavailable` when it cannot be found out, as when the agent has too many files open: nobody is told that he has ended.
 */
export function isAlive(pidfd: number, pid: number): boolean {
  try {
    // proc_pid_fdinfo(5): -1 once the process is gone.
    return new RegExp(`^Pid:\\t${pid}$`, 'm').test(readFileSync(`/proc/self/fdinfo/${pidfd}`, 'utf8'));
  } catch (cause) {
    if (isMissing(cause)) return false;
    throw new AppError('unavailable', `Cannot look at the process that connected: ${reason(cause)}.`, { cause });
  }
}

export function closePidfd(pidfd: number): void {
  try {
    closeSync(pidfd);
  } catch {
    // Closed already: nothing is lost.
  }
}

/**
 * Throws `unavailable` where callers cannot be identified at all, so that an agent says so when it starts and not to its
 * first caller.
 */
export function checkPeerCredentialsSupport(): void {
  getsockopt();
}

let loaded: GetSockOpt | undefined;

/** Loaded on first use: a `writ get` should not load a native library. */
function getsockopt(): GetSockOpt {
  if (loaded !== undefined) return loaded;
  if (process.platform !== 'linux') {
    throw new AppError(
      'unavailable',
      `The agent identifies its callers by SO_PEERCRED and /proc, which ${process.platform} does not have. Run it on Linux; elsewhere workloads can attest themselves with the control plane.`,
    );
  }
  try {
    const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
    const native = koffi
      .load(null)
      .func(
        'int getsockopt(int fd, int level, int name, _Out_ void *value, _Inout_ uint32_t *length)',
      ) as unknown as GetSockOpt;
    loaded = (...args) => (native(...args) === 0 && args[4][0] === args[3].length ? 0 : koffi.errno());
    return loaded;
  } catch (cause) {
    throw new AppError(
      'unavailable',
      'The agent cannot identify its callers: the native library koffi is missing here. Install the dependencies again, with optional ones.',
      { cause },
    );
  }
}

/** Node shows it in no public way. */
function fileDescriptor(socket: Socket): number {
  const handle = (socket as unknown as { readonly _handle?: { readonly fd?: unknown } })._handle;
  if (typeof handle?.fd !== 'number' || handle.fd < 0) throw unknown('it is gone already');
  return handle.fd;
}

function unknown(why: string): AppError {
  return new AppError('unavailable', `The caller cannot be identified: ${why}.`);
}
