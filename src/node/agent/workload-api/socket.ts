import { chmod, lstat, mkdir, readlink, realpath, rename, unlink } from 'node:fs/promises';
import type { Server, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { dirname, isAbsolute } from 'node:path';
import { isMissing, reason } from '../../../base/durable.ts';
import { AppError } from '../../../base/errors.ts';
import type { RandomBytes } from '../../../base/random.ts';
import { secureRandom } from '../../../base/random.ts';

export interface UnixListenerOptions {
  /** Absolute. Its directory is made (0755) when it is missing. */
  readonly path: string;
  /** Permissions: who may connect. */
  readonly mode: number;
  readonly onConnection: (socket: Socket) => void;
  readonly random?: RandomBytes;
}

export interface UnixListener {
  /** Takes no new connections and takes the socket away; resolves when the last connection has ended. */
  stop(): Promise<void>;
  /** Cuts what is still connected. */
  cut(): void;
}

/** What `sockaddr_un` has room for, less the ending zero and the suffix of the temporary name. */
const MAX_PATH_BYTES = 107 - 13;
const PROBE_TIMEOUT_MS = 2_000;

/**
 * Listens on a Unix socket. The socket is made under another name and put in place once it has its permissions, so nobody
 * connects before; a socket that a dead process left is replaced, and one that somebody serves is not touched.
 *
 * Not solved: of two processes that start at the same moment on the same path, both may find it free, and the first is then
 * out of reach. A lock on the agent's state directory keeps two of the same agent apart.
 *
 * @throws AppError `usage` for a path that cannot be used safely, `conflict` when it is taken, `unavailable` when the system
 * does not allow it
 */
export async function listenOnUnixSocket(o: UnixListenerOptions): Promise<UnixListener> {
  checkPath(o.path);
  const directory = await checkDirectory(dirname(o.path));
  await checkFree(o.path);
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    // Whoever works on top of it hears of it too.
    socket.on('error', () => undefined);
    o.onConnection(socket);
  });
  const closed = new Promise<void>((resolve) => server.once('close', resolve));
  const temporary = `${o.path}.${(o.random ?? secureRandom)(4).toString('hex')}.tmp`;
  let inode: bigint;
  try {
    await bind(server, temporary);
    await chmod(temporary, o.mode);
    inode = (await lstat(temporary, { bigint: true })).ino;
    await rename(temporary, o.path);
  } catch (cause) {
    server.close();
    await unlink(temporary).catch(() => undefined);
    throw new AppError('unavailable', `Cannot make the socket ${o.path} in ${directory}: ${reason(cause)}.`, { cause });
  }
  return {
    async stop() {
      await removeOwn(o.path, inode);
      server.close();
      await closed;
    },
    cut() {
      for (const socket of sockets) socket.destroy();
    },
  };
}

function checkPath(path: string): void {
  if (!isAbsolute(path) || path.includes('\0') || path.endsWith('/')) {
    throw new AppError('usage', 'The path of a socket must be absolute and name a file.');
  }
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) {
    throw new AppError('usage', `The path of a socket can have at most ${MAX_PATH_BYTES} bytes: ${path}`);
  }
}

/**
 * Whoever may rename files in the directory could put a socket of his own in the agent's place, and hand out identities of
 * his making: the directory and those above it belong to root or to us, and nobody else may write there, unless it is sticky.
 * That holds for every symbolic link on the way, too, which its owner could point elsewhere later.
 */
async function checkDirectory(path: string): Promise<string> {
  try {
    await makeDirectories(path);
    await checkWay(path, 0);
    const directory = await realpath(path);
    await checkWay(directory, 0);
    return directory;
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    throw new AppError('unavailable', `Cannot use the directory ${path}: ${reason(cause)}.`, { cause });
  }
}

/** Every step from the root to `path`, and for a link, every step to where it points. */
async function checkWay(given: string, links: number): Promise<void> {
  // Only slashes are tidied: what `..` means depends on the links before it, and a slash at the end would follow one.
  const path = given.replace(/\/+/g, '/').replace(/(?<=.)\/$/, '');
  if (dirname(path) !== path) await checkWay(dirname(path), links);
  const { uid, mode, isLink } = await ownerOf(path);
  const ours = uid === 0 || uid === process.geteuid?.();
  const sticky = (mode & 0o1000) !== 0;
  if (!ours || (!isLink && (mode & 0o022) !== 0 && !sticky)) {
    throw new AppError(
      'usage',
      `Others can replace files in ${path} (owner ${uid}, mode ${(mode & 0o7777).toString(8)}), and with them the agent's socket. Choose another directory, or run: chmod go-w ${path}`,
    );
  }
  if (!isLink) return;
  // The kernel follows no more than 40.
  if (links >= 40) throw new AppError('usage', `There are too many symbolic links on the way to ${path}.`);
  const target = await readlink(path);
  await checkWay(isAbsolute(target) ? target : `${dirname(path)}/${target}`, links + 1);
}

async function ownerOf(path: string): Promise<{ uid: number; mode: number; isLink: boolean }> {
  const found = await lstat(path);
  return { uid: found.uid, mode: found.mode, isLink: found.isSymbolicLink() };
}

/** Not by Node's `recursive`: below /proc that never ends. */
async function makeDirectories(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o755 });
  } catch (cause) {
    if (reason(cause) === 'EEXIST') return;
    if (!isMissing(cause) || dirname(path) === path) throw cause;
    await makeDirectories(dirname(path));
    await mkdir(path, { mode: 0o755 });
  }
}

/** Resolves when nothing is there, or a socket of ours that nobody serves any more. */
async function checkFree(path: string): Promise<void> {
  let found: Awaited<ReturnType<typeof lstat>>;
  try {
    found = await lstat(path);
  } catch (cause) {
    if (isMissing(cause)) return;
    throw new AppError('unavailable', `Cannot look at ${path}: ${reason(cause)}.`, { cause });
  }
  if (!found.isSocket()) {
    throw new AppError('conflict', `${path} exists and is no socket. Move it away, or choose another path.`);
  }
  const own = process.geteuid?.();
  if (own !== 0 && found.uid !== own) {
    throw new AppError('conflict', `${path} belongs to another user. Choose another path.`);
  }
  if (await isServed(path)) {
    throw new AppError('conflict', `Another process serves ${path}. Stop it first, or choose another path.`);
  }
}

function isServed(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    const done = (served: boolean) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(served);
    };
    // One that takes no connections for so long is busy, not dead.
    const timer = setTimeout(() => done(true), PROBE_TIMEOUT_MS);
    socket.once('connect', () => done(true));
    socket.once('error', (cause) => {
      const why = reason(cause);
      if (why === 'ECONNREFUSED' || why === 'ENOENT') return done(false);
      clearTimeout(timer);
      // EAGAIN: its queue of connections is full, so somebody has it open.
      if (why === 'EAGAIN') return done(true);
      reject(new AppError('unavailable', `Cannot find out whether ${path} is in use: ${why}.`, { cause }));
    });
  });
}

function bind(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ path, backlog: 4096 }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** Unless a successor has put its own there. */
async function removeOwn(path: string, inode: bigint): Promise<void> {
  try {
    if ((await lstat(path, { bigint: true })).ino === inode) await unlink(path);
  } catch (cause) {
    if (!isMissing(cause)) throw cause;
  }
}

/** The socket as SPIFFE_ENDPOINT_SOCKET names it (SPIFFE_Workload_Endpoint.md §4). */
export function socketUri(path: string): string {
  return `unix://${path}`;
}
