import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { reason } from '../../../base/durable.ts';
import { AppError } from '../../../base/errors.ts';
import type { AttestOptions, WorkloadAttestor } from './attestor.ts';
import { MAX_ACCOUNT_FILE_BYTES, parseGroup, parsePasswd } from './proc-formats.ts';
import type { ProcessView } from './process-view.ts';
import { fileState, isSameFile, readCapped } from './process-view.ts';

export interface UnixOptions {
  /** Default /etc/passwd and /etc/group. Users of other sources (LDAP) have a number here and no name. */
  readonly passwdFile?: string;
  readonly groupFile?: string;
  /** Programs with more bytes get no digest. Default 512 MiB. */
  readonly maxProgramBytes?: number;
}

const MAX_CACHED_DIGESTS = 1_000;

/**
 * The user, the groups and the program of a process: `unix:uid:N`, `unix:user:NAME`, `unix:gid:N`, `unix:group:NAME`,
 * `unix:supplementary_gid:N`, `unix:supplementary_group:NAME`, `unix:path:/…`, `unix:sha256:HEX`.
 *
 * Path and digest tell programs of a user apart, they do not protect one from the other: whoever is that user can make the
 * program do anything (ptrace, LD_PRELOAD). The path is that of the agent: a program in a container whose path means another
 * file here, or none, has no `unix:path`, since a container could choose it.
 */
export class UnixAttestor implements WorkloadAttestor {
  readonly type = 'unix';
  readonly #users: AccountNames;
  readonly #groups: AccountNames;
  readonly #maxProgramBytes: number;
  readonly #digests = new Map<string, Promise<string>>();
  /** The digest that is made last, by user. */
  readonly #turns = new Map<number, Promise<string>>();

  constructor(o: UnixOptions = {}) {
    this.#users = new AccountNames(o.passwdFile ?? '/etc/passwd', parsePasswd);
    this.#groups = new AccountNames(o.groupFile ?? '/etc/group', parseGroup);
    this.#maxProgramBytes = o.maxProgramBytes ?? 512 * 1024 * 1024;
  }

  async attest(process: ProcessView, o: AttestOptions): Promise<readonly string[]> {
    const { uid, gid, groups } = process.owner;
    const [user, groupNames, program] = await Promise.all([
      this.#users.load(),
      this.#groups.load(),
      this.#program(process, o),
    ]);
    const named = (kind: string, name: string | undefined) => (name === undefined ? [] : [`unix:${kind}:${name}`]);
    return [
      `unix:uid:${uid}`,
      ...named('user', user.get(uid)),
      `unix:gid:${gid}`,
      ...named('group', groupNames.get(gid)),
      ...groups.flatMap((each) => [
        `unix:supplementary_gid:${each}`,
        ...named('supplementary_group', groupNames.get(each)),
      ]),
      ...program,
    ];
  }

  async #program(process: ProcessView, o: AttestOptions): Promise<readonly string[]> {
    const wantsPath = o.wants('unix:path:');
    const wantsDigest = o.wants('unix:sha256:');
    const found: string[] = [];
    try {
      if (wantsPath) {
        const name = await process.executableName();
        if (name.startsWith('/') && (await isSameFile(name, process.executable).catch(() => false))) {
          found.push(`unix:path:${name}`);
        }
      }
      if (wantsDigest) {
        const digest = await this.#digest(process.executable, process.owner.uid);
        if (digest !== undefined) found.push(`unix:sha256:${digest}`);
      }
    } catch (error) {
      // Of kernel threads and of processes that this user may not look into: they have the other selectors all the same.
      if (!['EACCES', 'EPERM', 'ENOENT', 'ESRCH'].includes(reason(error))) throw error;
    }
    return found;
  }

  /** Once for each state of a file: a program that is started a thousand times is read once. */
  async #digest(path: string, uid: number): Promise<string | undefined> {
    const { key, bytes } = await fileState(path);
    if (bytes > this.#maxProgramBytes) return undefined;
    const known = this.#digests.get(key);
    if (known !== undefined) {
      this.#digests.delete(key);
      this.#digests.set(key, known);
      return known;
    }
    const digest = this.#inTurn(uid, () => digestOf(path, this.#maxProgramBytes));
    this.#digests.set(key, digest);
    const [oldest] = this.#digests.keys();
    if (this.#digests.size > MAX_CACHED_DIGESTS && oldest !== undefined) this.#digests.delete(oldest);
    digest.catch(() => this.#digests.delete(key));
    return digest;
  }

  /** One at a time for each user: who has large programs, and changes their state again and again, holds up himself. */
  #inTurn(uid: number, make: () => Promise<string>): Promise<string> {
    const digest = this.#turns.get(uid)?.then(make, make) ?? make();
    this.#turns.set(uid, digest);
    const done = () => {
      if (this.#turns.get(uid) === digest) this.#turns.delete(uid);
    };
    digest.then(done, done);
    return digest;
  }
}

async function digestOf(path: string, maxBytes: number): Promise<string> {
  const hash = createHash('sha256');
  let total = 0;
  for await (const piece of createReadStream(path, { highWaterMark: 1024 * 1024 })) {
    const bytes = piece as Buffer;
    total += bytes.length;
    if (total > maxBytes) throw new AppError('too-large', 'The program grows while it is read.');
    hash.update(bytes);
  }
  return hash.digest('hex');
}

/** The names in an account file, read again when the file has changed. */
class AccountNames {
  readonly #path: string;
  readonly #parse: (text: string) => ReadonlyMap<number, string>;
  #state = '';
  #names: ReadonlyMap<number, string> = new Map();

  constructor(path: string, parse: (text: string) => ReadonlyMap<number, string>) {
    this.#path = path;
    this.#parse = parse;
  }

  /** Without the file there are no names. Throws `unavailable` when it is there and cannot be read. */
  async load(): Promise<ReadonlyMap<number, string>> {
    try {
      const { key } = await fileState(this.#path);
      if (key !== this.#state) {
        this.#names = this.#parse(await readCapped(this.#path, MAX_ACCOUNT_FILE_BYTES));
        this.#state = key;
      }
      return this.#names;
    } catch (cause) {
      if (reason(cause) === 'ENOENT') return new Map();
      if (cause instanceof AppError) throw cause;
      throw new AppError('unavailable', `Cannot read ${this.#path}: ${reason(cause)}.`, { cause });
    }
  }
}
