import type { AffixNode } from './affix-tree.ts';
import { buildAffixTree, hasPrefixOf, hasSuffixOf } from './affix-tree.ts';
import type { StringMatch } from './model.ts';
import { matchesTemplate } from './path-template.ts';

/** The values of one field, ORed, so that testing a text costs the same for one value and for thousands. */
export interface StringSet {
  readonly present: boolean;
  readonly exact: ReadonlySet<string> | undefined;
  readonly prefixes: AffixNode<true> | undefined;
  readonly suffixes: AffixNode<true> | undefined;
  /** Of paths; tried one by one. */
  readonly templates: readonly string[] | undefined;
}

/** `undefined` for no values: the field does not constrain. */
export function compileStrings(matches: readonly StringMatch[]): StringSet | undefined {
  if (matches.length === 0) return undefined;
  const of = (kind: 'exact' | 'prefix' | 'suffix' | 'template') =>
    matches.flatMap((m) => (m.kind === kind ? [m.value] : []));
  const exact = of('exact');
  const templates = of('template');
  return Object.freeze({
    present: matches.some((m) => m.kind === 'present'),
    exact: exact.length === 0 ? undefined : new Set(exact),
    prefixes: buildAffixTree(
      'prefix',
      of('prefix').map((value) => [value, true] as const),
    ),
    suffixes: buildAffixTree(
      'suffix',
      of('suffix').map((value) => [value, true] as const),
    ),
    templates: templates.length === 0 ? undefined : templates,
  });
}

export function includes(set: StringSet, text: string): boolean {
  return (
    set.exact?.has(text) === true ||
    (set.present && text !== '') ||
    (set.prefixes !== undefined && hasPrefixOf(set.prefixes, text)) ||
    (set.suffixes !== undefined && hasSuffixOf(set.suffixes, text)) ||
    set.templates?.some((template) => matchesTemplate(template, text)) === true
  );
}
