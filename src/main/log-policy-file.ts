import { readFile } from 'node:fs/promises';
import { reason } from '../base/durable.ts';
import { AppError } from '../base/errors.ts';
import type { LogPolicy } from '../core/audit/log-policy.ts';
import { parseLogPolicy } from '../core/audit/log-policy.ts';

/** Reads whom an operator trusts about logs. Throws `usage` for a file that cannot be read, `invalid-document` with its line. */
export async function readLogPolicy(file: string): Promise<LogPolicy> {
  let bytes: Buffer;
  try {
    bytes = await readFile(file);
  } catch (cause) {
    throw new AppError('usage', `Cannot read ${file}: ${reason(cause)}.`, { cause });
  }
  return parseLogPolicy(bytes);
}
