import type { AppError, Finding } from '../base/errors.ts';
import { RemoteError } from './client.ts';
import type { Style } from './style.ts';
import { safe } from './style.ts';

/**
 * An error for a person: what, why and how to mend it stand in its message; then every finding; for what the server
 * refused, the request id; and where to read on.
 *
 * @param o.oneLine nothing but the message: for a command whose errors say all there is to say.
 */
export function reportError(error: AppError, style: Style, o: { readonly oneLine?: boolean } = {}): string {
  const [first, ...others] = error.details;
  // Where one finding is all there is to say, the server's message is that finding: told once, with its place if it has one.
  const single = others.length === 0 && first?.message === error.message ? first : undefined;
  const lines = [`${style.red('error:')} ${single === undefined ? safe(error.message) : reportFinding(single)}`];
  for (const finding of single === undefined ? error.details : []) lines.push(`  ${reportFinding(finding)}`);
  if (error.retryAfterSeconds !== undefined) lines.push(`  Try again in ${error.retryAfterSeconds} s.`);
  if (error instanceof RemoteError && error.requestId !== undefined) {
    lines.push(style.dim(`  request id ${safe(error.requestId)}`));
  }
  if (o.oneLine !== true) lines.push(style.dim(`  more: ${pageOf(error)}`));
  return `${lines.join('\n')}\n`;
}

/** The paragraph about this code: at the server if it said that it has one, else where the documents of Writ are. */
function pageOf(error: AppError): string {
  const page = error instanceof RemoteError ? error.errorsPage : undefined;
  return `${page ?? ERRORS_PAGE}#${error.code}`;
}

/** As it is named from the clone, and below the address where the documents are published. */
export const ERRORS_PAGE = 'docs/errors.md';

/** `file:line:column: message`, as editors and terminals link it. */
export function reportFinding(finding: Finding): string {
  const place = [finding.file, finding.line, finding.column].filter((part) => part !== undefined).join(':');
  const where = place === '' ? '' : `${place}: `;
  return safe(`${where}${finding.message}`);
}
