import { readFile } from 'node:fs/promises';

/** A text that is another after each start of the machine; undefined where the system does not say. */
export async function readMachineStart(): Promise<string | undefined> {
  try {
    return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim() || undefined;
  } catch {
    // Not Linux: then every end that was not in order may have been a power cut.
    return undefined;
  }
}
