import type { Schema, Values } from '../base/config.ts';
import { withDefault } from '../base/config.ts';
import type { Problems, Raw } from '../base/config-source.ts';
import type { Type } from '../base/config-types.ts';
import { flag } from '../base/config-types.ts';
import { didYouMean } from '../base/suggest.ts';
import type { NamespaceRules } from '../control/policies/changes/protection.ts';
import { ANY_NAMESPACE, freeNamespace } from '../control/policies/changes/protection.ts';

const ruleNames = ['requireApproval', 'requirePlan'] as const;
type RuleName = (typeof ruleNames)[number];

const namespacePattern = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const MAX_NAMESPACES = 1_000;

/**
 * What each namespace asks of changes: in a file a map from namespace (or `*`) to rules that are true or false, in a flag
 * `namespace:rule,rule;namespace:rule`.
 */
const namespaceRules: Type<ReadonlyMap<string, NamespaceRules>> = {
  form: 'namespace:rule,…;…',
  limit: `rules are ${ruleNames.join(' and ')}; * is every namespace`,
  parse(raw, name, problems) {
    const before = problems.findings.length;
    const found = new Map<string, NamespaceRules>();
    for (const [namespace, rules, at] of given(raw, name, problems)) {
      if (namespace !== ANY_NAMESPACE && !namespacePattern.test(namespace)) {
        problems.add(at.place, name, `has ${JSON.stringify(namespace)}, which is no namespace: a DNS label, or *.`);
      } else if (found.has(namespace)) problems.add(at.place, name, `names ${namespace} twice.`);
      else found.set(namespace, Object.freeze({ ...freeNamespace, ...rules }));
    }
    if (found.size > MAX_NAMESPACES) problems.add(raw.place, name, `names more than ${MAX_NAMESPACES} namespaces.`);
    return problems.findings.length > before ? undefined : found;
  },
};

type Given = readonly [namespace: string, rules: Partial<NamespaceRules>, at: Raw];

function given(raw: Raw, name: string, problems: Problems): readonly Given[] {
  switch (raw.kind) {
    case 'map':
      return raw.entries.map(({ key, value }) => [key, rulesIn(value, `${name}.${key}`, problems), value]);
    case 'text':
      return raw.value
        .split(';')
        .map((part) => part.trim())
        .filter((part) => part !== '')
        .map((part) => {
          const [namespace = '', rules = ''] = part.split(/:(.*)/s);
          const names = rules.split(',').map((rule) => rule.trim());
          return [namespace, Object.fromEntries(names.map((rule) => [known(rule, raw, name, problems), true])), raw];
        });
    default:
      problems.add(raw.place, name, 'must be a map from namespaces to rules.');
      return [];
  }
}

function rulesIn(raw: Raw, name: string, problems: Problems): Partial<NamespaceRules> {
  if (raw.kind !== 'map') {
    problems.add(raw.place, name, `must be a map with ${ruleNames.join(' or ')}.`);
    return {};
  }
  const rules: Partial<Record<RuleName, boolean>> = {};
  for (const { key, value } of raw.entries) {
    const rule = known(key, value, name, problems);
    const isOn = flag.parse(value, `${name}.${key}`, problems);
    if (rule !== undefined && isOn !== undefined) rules[rule] = isOn;
  }
  return rules;
}

function known(text: string, at: Raw, name: string, problems: Problems): RuleName | undefined {
  const rule = ruleNames.find((each) => each === text);
  if (rule === undefined) {
    const mend = didYouMean(text, ruleNames);
    problems.add(at.place, name, `has no rule ${JSON.stringify(text)}; there are ${ruleNames.join(', ')}.${mend}`);
  }
  return rule;
}

/** The settings of `writ server` about who may change policies, and how. */
export const policySchema = {
  'policy.namespaces': withDefault(
    namespaceRules,
    '',
    'What changes of policies need, by namespace: the agreement of a second person, a plan. Whoever changes policies cannot change it here',
  ),
} as const satisfies Schema;

export interface PolicyConfig {
  /** By namespace; `*` for all of them. */
  readonly namespaces: Readonly<Record<string, NamespaceRules>>;
}

export function policyConfig(values: Values<typeof policySchema>): PolicyConfig {
  // As an object: what the server is started with goes on the record, name by name.
  return Object.freeze({ namespaces: Object.freeze(Object.fromEntries(values['policy.namespaces'])) });
}
