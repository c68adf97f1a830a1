import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ProcessView } from '../../../../src/node/agent/attest-workload/process-view.ts';

export interface FakeProcess {
  readonly comm?: string;
  readonly startTime?: number | string;
  readonly uid?: number;
  readonly gid?: number;
  readonly groups?: readonly number[];
  readonly cgroup?: string;
  readonly exe?: string;
}

/** The part of a /proc that attestation reads, in a directory of the test's own. */
export async function writeProcess(root: string, pid: number, o: FakeProcess = {}): Promise<void> {
  const directory = join(root, String(pid));
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'stat'), statOf(pid, o.comm ?? 'app', o.startTime ?? 12_345));
  await writeFile(join(directory, 'status'), statusOf(o.uid ?? 1000, o.gid ?? 1000, o.groups ?? []));
  await writeFile(join(directory, 'cgroup'), o.cgroup ?? '0::/system.slice/app.service\n');
  await rm(join(directory, 'exe'), { force: true });
  if (o.exe !== undefined) await symlink(o.exe, join(directory, 'exe'));
}

export function statOf(pid: number, comm: string, startTime: number | string): string {
  return `${pid} (${comm}) S 1 ${pid} ${pid} 0 -1 4194560 1000 0 0 0 10 5 0 0 20 0 7 0 ${startTime} 1000000 2000 18446744073709551615 1 1 0 0 0 0 0\n`;
}

export function statusOf(uid: number, gid: number, groups: readonly number[]): string {
  return `Name:\tapp\nUmask:\t0022\nState:\tS (sleeping)\nUid:\t${uid}\t${uid}\t${uid}\t${uid}\nGid:\t${gid}\t${gid}\t${gid}\t${gid}\nFDSize:\t64\nGroups:\t${groups.join(' ')} \n`;
}

/** A process that is nothing but its cgroups. */
export function processIn(cgroup: string): ProcessView {
  return {
    pid: 7,
    startTime: '1',
    owner: { uid: 1000, gid: 1000, groups: [] },
    read: async () => cgroup,
    executable: '/nonexistent',
    executableName: async () => '/nonexistent',
  };
}

export const everything = { wants: () => true, signal: new AbortController().signal };
export const nothingCostly = { wants: () => false, signal: new AbortController().signal };
