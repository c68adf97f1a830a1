import { readdir, readFile } from 'node:fs/promises';
import { run } from './dev-mesh.ts';

export interface RunningProcess {
  readonly pid: number;
  readonly parent: number;
  /** The command line, its arguments separated by spaces. */
  readonly command: string;
}

/** Every process of the machine. Linux tells by itself; macOS has no /proc but always `ps`. */
export function runningProcesses(): Promise<readonly RunningProcess[]> {
  return process.platform === 'linux' ? fromProc() : fromPs();
}

async function fromProc(): Promise<readonly RunningProcess[]> {
  const found: RunningProcess[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const status = await readFile(`/proc/${name}/stat`, 'utf8');
      // The name of the command is in parentheses and may hold anything.
      const parent = Number(status.slice(status.lastIndexOf(')') + 2).split(' ')[1]);
      const command = (await readFile(`/proc/${name}/cmdline`, 'utf8')).replaceAll('\0', ' ');
      found.push({ pid: Number(name), parent, command });
    } catch {
      // It has ended meanwhile.
    }
  }
  return found;
}

async function fromPs(): Promise<readonly RunningProcess[]> {
  // Twice w: the whole line, however long.
  const { stdout } = await run('ps', ['-A', '-ww', '-o', 'pid=,ppid=,args=']);
  return [...stdout.matchAll(/^ *(\d+) +(\d+) (.*)$/gm)].map(([, pid, parent, command = '']) => ({
    pid: Number(pid),
    parent: Number(parent),
    command,
  }));
}
