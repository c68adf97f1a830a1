import type { Logger } from 'pino';
import { pino } from 'pino';

export type { Logger } from 'pino';

/** Keys whose values must never reach a log, at any of the depths that we log. */
const secretKeys = ['token', 'authorization', 'privateKey', 'passphrase', 'csr', 'key', 'cookie'];

export interface LogOptions {
  /** Name of the component, on every line. */
  readonly name: string;
  /** Default 'info'. */
  readonly level?: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';
  /** File descriptor to write to. Default 2: standard output belongs to data. */
  readonly fd?: number;
}

/** JSON lines, one object each; secrets are redacted by key. */
export function createLogger(options: LogOptions): Logger {
  return pino(
    {
      name: options.name,
      level: options.level ?? 'info',
      redact: { paths: secretKeys.flatMap((key) => [key, `*.${key}`, `*.*.${key}`]), censor: '[redacted]' },
      base: { pid: process.pid },
    },
    pino.destination({ fd: options.fd ?? 2, sync: true }),
  );
}

/** For tests and for components that were given no logger. */
export const silentLogger: Logger = pino({ level: 'silent' });
