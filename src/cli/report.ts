import type { AppError, Finding } from '../base/errors.ts';
import { RemoteError } from './client.ts';
import type { Style } from './style.ts';
import { safe } from './style.ts';

/**
 * An error for a person: what, why and how to mend it stand in its message; then every finding; and for what the server
 * refused, the request id and where to read on.
 */
export function reportError(error: AppError, style: Style): string {
  const [first, ...others] = error.details;
  // Where one finding is all there is to say, the server's message is that finding: told once, with its place if it has one.
  const single = others.length === 0 && first?.message === error.message ? first : undefined;
  const lines = [`${style.red('error:')} ${single === undefined ? safe(error.message) : reportFinding(single)}`];
  for (const finding of single === undefined ? error.details : []) lines.push(`  ${reportFinding(finding)}`);
  if (error.retryAfterSeconds !== undefined) lines.push(`  Try again in ${error.retryAfterSeconds} s.`);
  if (error instanceof RemoteError && error.requestId !== undefined) {
    lines.push(style.dim(`  request id ${safe(error.requestId)}`));
    lines.push(style.dim(`  more: docs/errors.md#${error.code}`));
  }
  return `${lines.join('\n')}\n`;
}

/** `file:line:column: message`, as editors and terminals link it. */
export function reportFinding(finding: Finding): string {
  const place = [finding.file, finding.line, finding.column].filter((part) => part !== undefined).join(':');
  const where = place === '' ? '' : `${place}: `;
  return safe(`${where}${finding.message}`);
}
