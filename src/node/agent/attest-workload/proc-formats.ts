import { AppError } from '../../../base/errors.ts';

/**
 * What the kernel writes into /proc, and what administrators write into /etc. The form is the kernel's, but parts of it are
 * chosen by the process itself (its name, its cgroup where that is delegated): nothing is taken that is not at its place.
 */

/** Longest file of these that is read. */
export const MAX_PROC_BYTES = 64 * 1024;
export const MAX_ACCOUNT_FILE_BYTES = 8 * 1024 * 1024;
const MAX_CGROUP_LINES = 256;

/**
 * When a process began, in clock ticks since boot: with its number, what tells it from every other (proc_pid_stat(5), field
 * 22). The name of the process, field 2, is its own choice and may hold anything, such as `) R 1 1 (`: what counts is after
 * the last parenthesis.
 *
 * @throws AppError `invalid`
 */
export function parseStartTime(stat: string): string {
  const match = /^\d+ \(/.test(stat)
    ? /^ [A-Za-z](?: -?\d{1,20}){18} (\d{1,20})(?: |\n|$)/.exec(stat.slice(stat.lastIndexOf(')') + 1))
    : null;
  if (match?.[1] === undefined) throw malformed('stat of a process');
  return match[1];
}

/** Effective user and group, and the supplementary groups, of a process. */
export interface ProcessOwner {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
}

/**
 * From the `status` of a process (proc_pid_status(5)). Its name stands in it too, but the kernel escapes line ends there.
 *
 * @throws AppError `invalid`
 */
export function parseOwner(status: string): ProcessOwner {
  const groups = theLine(status, 'Groups').trim();
  return Object.freeze({
    uid: effective(theLine(status, 'Uid')),
    gid: effective(theLine(status, 'Gid')),
    groups: Object.freeze(groups === '' ? [] : groups.split(/[ \t]+/).map(id)),
  });
}

/** One hierarchy that a process is in. */
export interface Cgroup {
  /** '' for cgroup v2; else names of controllers, or `name=systemd`. */
  readonly controllers: string;
  /** Begins with a slash. As the agent's own cgroup namespace sees it: outside of that it begins with `/..`. */
  readonly path: string;
}

/**
 * From the `cgroup` of a process (cgroups(7)): `0::/system.slice/x.service`. The last part of a path can be the process's own
 * choice, where a part of the hierarchy is delegated to it; the first ones cannot.
 *
 * @throws AppError `invalid`
 */
export function parseCgroups(text: string): readonly Cgroup[] {
  const lines = text.split('\n').filter((line) => line !== '');
  if (lines.length > MAX_CGROUP_LINES) throw malformed('cgroup of a process');
  return Object.freeze(
    lines.map((line) => {
      const match = /^\d{1,10}:([^:]*):(\/.*)$/.exec(line);
      if (match === null) throw malformed('cgroup of a process');
      return Object.freeze({ controllers: match[1] ?? '', path: match[2] ?? '' });
    }),
  );
}

/** Names by uid, from passwd(5). Lines of another form are passed over, as the C library does; of two names the first holds. */
export function parsePasswd(text: string): ReadonlyMap<number, string> {
  return names(text, 7);
}

/** Names by gid, from group(5). */
export function parseGroup(text: string): ReadonlyMap<number, string> {
  return names(text, 4);
}

function names(text: string, fields: number): ReadonlyMap<number, string> {
  const found = new Map<number, string>();
  for (const line of text.split('\n')) {
    const parts = line.split(':');
    const [name = '', , number = ''] = parts;
    // Lines that begin with + or - ask for other sources (NIS): not names.
    if (parts.length !== fields || !/^[^+\-#\s\p{Cc}][^\s\p{Cc}]{0,255}$/u.test(name) || !isId(number)) continue;
    if (!found.has(Number(number))) found.set(Number(number), name);
  }
  return found;
}

/** What follows `Name:` in the one line that begins so. */
function theLine(status: string, name: string): string {
  const lines = status.split('\n').filter((line) => line.startsWith(`${name}:`));
  const [line] = lines;
  if (line === undefined || lines.length !== 1) throw malformed('status of a process');
  return line.slice(name.length + 1);
}

/** `real effective saved file-system`. */
function effective(line: string): number {
  const parts = line.trim().split(/[ \t]+/);
  if (parts.length !== 4) throw malformed('status of a process');
  return parts.map(id)[1] ?? id('');
}

function id(text: string): number {
  if (!isId(text)) throw malformed('status of a process');
  return Number(text);
}

function isId(text: string): boolean {
  return /^\d{1,10}$/.test(text) && Number(text) <= 0xffff_ffff;
}

function malformed(what: string): AppError {
  return new AppError('invalid', `The ${what} is not as the kernel writes it.`);
}
