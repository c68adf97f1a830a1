import { closeSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Socket } from 'node:net';
import { AppError } from '../../base/errors.ts';

/** Who connected to a Unix socket, as the kernel noted it at that moment: nothing of it comes from the caller. */
export interface PeerCredentials {
  /** Process id, in the agent's own PID namespace. */
  readonly pid: number;
  /** Effective ones. */
  readonly uid: number;
  readonly gid: number;
  /**
   * A file descriptor that stands for the process itself (pidfd), so that another process with the same number is never
   * taken for it; undefined on kernels before 6.5. Close it by `closePidfd`.
   */
  readonly pidfd: number | undefined;
}

const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const SO_PEERPIDFD = 77;

type GetSockOpt = (fd: number, level: number, name: number, value: Buffer, length: number[]) => number;

/**
 * SO_PEERCRED (unix(7)) of an accepted connection: the Workload API asks its callers for no proof, the kernel gives it
 * (SPIFFE_Workload_Endpoint.md §5). To be asked at once when the connection is accepted: the file descriptor must be open.
 *
 * @throws AppError `unavailable` where the kernel cannot tell
 */
export function peerCredentials(socket: Socket): PeerCredentials {
  const fd = fileDescriptor(socket);
  const credentials = read(fd, SO_PEERCRED, 12);
  if (credentials === undefined) throw unknown('the kernel did not say who called');
  const pid = credentials.readInt32LE(0);
  if (pid <= 0) {
    throw unknown('it runs in a PID namespace that the agent does not see; run the agent in the host PID namespace');
  }
  return Object.freeze({
    pid,
    uid: credentials.readUInt32LE(4),
    gid: credentials.readUInt32LE(8),
    pidfd: read(fd, SO_PEERPIDFD, 4)?.readInt32LE(0),
  });
}

/** Whether the process that the pidfd stands for has not been reaped: only then does its number still belong to it. */
export function isAlive(pidfd: number, pid: number): boolean {
  try {
    // proc_pid_fdinfo(5): -1 once the process is gone.
    return new RegExp(`^Pid:\\t${pid}$`, 'm').test(readFileSync(`/proc/self/fdinfo/${pidfd}`, 'utf8'));
  } catch {
    return false;
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
    loaded = koffi
      .load(null)
      .func(
        'int getsockopt(int fd, int level, int name, _Out_ void *value, _Inout_ uint32_t *length)',
      ) as unknown as GetSockOpt;
    return loaded;
  } catch (cause) {
    throw new AppError(
      'unavailable',
      'The agent cannot identify its callers: the native library koffi is missing here. Install the dependencies again, with optional ones.',
      { cause },
    );
  }
}

function read(fd: number, option: number, bytes: number): Buffer | undefined {
  const value = Buffer.alloc(bytes);
  const length = [bytes];
  return getsockopt()(fd, SOL_SOCKET, option, value, length) === 0 && length[0] === bytes ? value : undefined;
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
