import type { Finding } from '../../base/errors.ts';
import { AppError } from '../../base/errors.ts';

/** As ajv reports it. */
interface Violation {
  readonly keyword: string;
  readonly instancePath: string;
  readonly params: Readonly<Record<string, unknown>>;
  readonly message?: string;
}

/** A failed schema check as one AppError with all findings: `invalid-document` for a body, `invalid` for a query or path. */
export function findingsOf(error: unknown): AppError | undefined {
  if (!(error instanceof Error && 'validation' in error && Array.isArray(error.validation))) return undefined;
  const part = 'validationContext' in error ? String(error.validationContext) : 'body';
  const details = (error.validation as Violation[]).map((violation) => toFinding(violation, part));
  const shown = details.slice(0, 100);
  const what = shown.map((finding) => finding.message).slice(0, 3);
  const more = details.length > what.length ? ` (and ${details.length - what.length} more)` : '';
  return new AppError(part === 'body' ? 'invalid-document' : 'invalid', `${what.join(' ')}${more}`, { details: shown });
}

function toFinding(violation: Violation, part: string): Finding {
  const { code, pointer, problem } = read(violation);
  return { code, message: `${subject(part, pointer)} ${problem}.`, pointer };
}

/** In the words of the policy parser, not of the validator. */
function read({ keyword, instancePath: at, params, message }: Violation): {
  readonly code: string;
  readonly pointer: string;
  readonly problem: string;
} {
  switch (keyword) {
    case 'additionalProperties':
      return { code: 'unknown-field', pointer: child(at, params.additionalProperty), problem: 'is not known here' };
    case 'required':
      return { code: 'missing-field', pointer: child(at, params.missingProperty), problem: 'is missing' };
    case 'enum':
      return {
        code: 'unknown-value',
        pointer: at,
        problem: `must be one of ${(params.allowedValues as unknown[]).join(', ')}`,
      };
    default:
      return { code: codes[keyword] ?? 'invalid', pointer: at, problem: message ?? 'is not valid' };
  }
}

const codes: Readonly<Record<string, string>> = {
  type: 'wrong-type',
  pattern: 'malformed',
  format: 'malformed',
  minimum: 'out-of-range',
  maximum: 'out-of-range',
  minLength: 'out-of-range',
  maxLength: 'out-of-range',
  maxItems: 'out-of-range',
  maxProperties: 'out-of-range',
  uniqueItems: 'repeated',
};

/** RFC 6901. The names in it are the caller's own. */
function child(pointer: string, name: unknown): string {
  return `${pointer}/${String(name).slice(0, 100).replaceAll('~', '~0').replaceAll('/', '~1')}`;
}

function subject(part: string, pointer: string): string {
  switch (part) {
    case 'querystring':
      return `The query parameter ${pointer.slice(1)}`;
    case 'params':
      return `${pointer.slice(1)} in the path`;
    case 'headers':
      return `The header ${pointer.slice(1)}`;
    default:
      return pointer === '' ? 'The body' : pointer;
  }
}
