import { spawnSync } from 'node:child_process';
import { createHash, generateKeyPairSync, hash, sign, verify } from 'node:crypto';
import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';

/** How often `work` runs per second on this core, measured for about `ms`. */
export function perSecond(work: () => void, ms = 1000): number {
  for (let i = 0; i < 50; i++) work();
  const start = process.hrtime.bigint();
  const end = start + BigInt(ms) * 1_000_000n;
  let count = 0;
  while (process.hrtime.bigint() < end) {
    for (let i = 0; i < 20; i++) work();
    count += 20;
  }
  return (count * 1e9) / Number(process.hrtime.bigint() - start);
}

/**
 * As `perSecond`, of the time that this process really had the core, as `openssl speed` counts it: what else runs on the machine
 * takes nothing away from either. Garbage collection and compilation count, also on other threads.
 */
export function perCoreSecond(work: () => void, ms = 1000): number {
  // Until all of it is compiled, as in a process that has run for a while.
  countFor(work, WARM_UP_MS);
  return median(Array.from({ length: ROUNDS }, () => countFor(work, ms)));
}

/** Of several rounds: a machine that others share has slow seconds. */
export function median(figures: readonly number[]): number {
  return figures.toSorted((a, b) => a - b)[Math.floor(figures.length / 2)] ?? 0;
}

export const ROUNDS = 5;

const WARM_UP_MS = 4_000;

function countFor(work: () => void, ms: number): number {
  const before = process.cpuUsage();
  let count = 0;
  for (;;) {
    for (let i = 0; i < 100; i++) work();
    count += 100;
    const { user, system } = process.cpuUsage(before);
    if (user + system >= ms * 1000) return (count * 1e6) / (user + system);
  }
}

export interface SignVerify {
  readonly name: string;
  readonly signPerSecond: number;
  readonly verifyPerSecond: number;
}

/** P-256 signatures by the `openssl` command, one core; by node:crypto (its OpenSSL) where there is no such command. */
export function opensslP256(): SignVerify {
  const rounds = Array.from({ length: ROUNDS }, opensslSpeed).filter((each) => each !== undefined);
  if (rounds.length === ROUNDS) {
    return {
      name: 'openssl speed',
      signPerSecond: median(rounds.map((each) => each.sign)),
      verifyPerSecond: median(rounds.map((each) => each.verify)),
    };
  }
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const data = Buffer.alloc(32);
  const signature = sign('sha256', data, privateKey);
  return {
    name: 'node:crypto',
    signPerSecond: perCoreSecond(() => void sign('sha256', data, privateKey)),
    verifyPerSecond: perCoreSecond(() => void verify('sha256', data, publicKey, signature)),
  };
}

function opensslSpeed(): { readonly sign: number; readonly verify: number } | undefined {
  const run = spawnSync('openssl', ['speed', '-mr', '-seconds', '1', 'ecdsap256'], { encoding: 'utf8' });
  // Machine-readable: +F4:<index>:<bits>:<seconds per signature>:<seconds per verification>
  const fields = /^\+F4:\d+:\d+:([\d.e-]+):([\d.e-]+)/m.exec(run.stdout ?? '');
  const [signTime, verifyTime] = [Number(fields?.[1]), Number(fields?.[2])];
  if (run.status !== 0 || !(signTime > 0) || !(verifyTime > 0)) return undefined;
  return { sign: rateOf(signTime), verify: rateOf(verifyTime) };
}

// Depending on its version, openssl prints seconds per operation or operations per second.
function rateOf(printed: number): number {
  return printed < 1 ? 1 / printed : printed;
}

/** SHA-256 of 64 bytes, one call each: the smallest step of any Merkle tree. */
export function sha256PerSecond(): number {
  const data = Buffer.alloc(64, 7);
  return perSecond(() => void hash('sha256', data, 'buffer'));
}

/** Bytes of SHA-256 per second in large pieces. */
export function sha256BytesPerSecond(): number {
  const data = Buffer.alloc(1024 * 1024, 7);
  return perSecond(() => void createHash('sha256').update(data).digest(), 500) * data.length;
}

/** Writing `bytes` and fdatasync, in seconds⁻¹. */
export function fsyncPerSecond(directory: string, bytes: number): number {
  const fd = openSync(join(directory, 'fsync-reference'), 'w');
  const data = Buffer.alloc(bytes, 7);
  try {
    return perSecond(() => {
      writeSync(fd, data);
      fdatasyncSync(fd);
    });
  } finally {
    closeSync(fd);
  }
}
