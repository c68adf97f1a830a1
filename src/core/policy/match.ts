import { unreachable } from '../../base/errors.ts';
import type { StringMatch } from './model.ts';
import { matchesTemplate } from './path-template.ts';

const present: StringMatch = Object.freeze({ kind: 'present' });

/**
 * Reads Istio's string forms: `*` any non-empty value, `*abc` suffix, `abc*` prefix, else exact.
 *
 * `undefined` for an empty text and for a `*` anywhere else or a second one: Istio takes those literally without a word,
 * Writ lets the caller report them (reference: rules 7 and 8).
 */
export function parseMatch(text: string): StringMatch | undefined {
  if (text === '*') return present;
  const [kind, value] = text.startsWith('*')
    ? (['suffix', text.slice(1)] as const)
    : text.endsWith('*')
      ? (['prefix', text.slice(0, -1)] as const)
      : (['exact', text] as const);
  if (value === '' || value.includes('*')) return undefined;
  return Object.freeze({ kind, value });
}

/** The inverse of `parseMatch`, as people write it. */
export function formatMatch(match: StringMatch): string {
  switch (match.kind) {
    case 'exact':
    case 'template':
      return match.value;
    case 'prefix':
      return `${match.value}*`;
    case 'suffix':
      return `*${match.value}`;
    case 'present':
      return '*';
    default:
      return unreachable(match);
  }
}

/** Case-sensitive. `abc*` and `*abc` also match `abc`; nothing but an empty prefix or suffix matches the empty value. */
export function matches(match: StringMatch, value: string): boolean {
  switch (match.kind) {
    case 'exact':
      return value === match.value;
    case 'prefix':
      return value.startsWith(match.value);
    case 'suffix':
      return value.endsWith(match.value);
    case 'template':
      return matchesTemplate(match.value, value);
    case 'present':
      return value !== '';
    default:
      return unreachable(match);
  }
}
