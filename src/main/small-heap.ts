import { setFlagsFromString } from 'node:v8';

/**
 * For a process that runs on every machine and mostly waits: V8 otherwise lets the space for young objects grow to dozens of
 * megabytes at the first burst, and keeps it; that for old ones, several times what is in use. Measured with 1,000 workloads
 * connected to an agent: 180 MB instead of 270, and no slower.
 */
export function keepHeapSmall(): void {
  setFlagsFromString('--semi-space-growth-factor=1 --optimize-for-size');
}
