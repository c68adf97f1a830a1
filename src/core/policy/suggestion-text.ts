import type { CountedPath, SuggestedOperation, SuggestedRule, Suggestion } from './suggest.ts';

export interface SuggestionHead {
  readonly namespace: string;
  readonly service: string;
  /** Of the policy. */
  readonly name: string;
  /** Of the calls: milliseconds since the epoch. */
  readonly since: number;
  readonly until: number;
  /** Paths stand for others that were not seen. */
  readonly templates: boolean;
  /** Calls that were denied by default are among those that it admits. */
  readonly withDenied: boolean;
}

/**
 * A suggestion as the YAML of a policy, with what was seen as comments. Texts of callers stand in double quotes and in JSON's
 * spelling, so none of them can end its line.
 */
export function suggestionText(suggestion: Suggestion, head: SuggestionHead): string {
  const lines = [
    ...comments(suggestion, head),
    'apiVersion: security.istio.io/v1',
    'kind: AuthorizationPolicy',
    'metadata:',
    `  name: ${head.name}`,
    `  namespace: ${head.namespace}`,
    'spec:',
    '  targetRefs:',
    '  - group: ""',
    '    kind: Service',
    `    name: ${quote(head.service)}`,
    '  action: ALLOW',
    ...(suggestion.rules.length === 0 ? ['  rules: []'] : ['  rules:', ...suggestion.rules.flatMap(ruleLines)]),
  ];
  return `${lines.join('\n')}\n`;
}

function comments({ calls, left }: Suggestion, head: SuggestionHead): string[] {
  const { namespace, service, since, until, templates, withDenied } = head;
  const span = `${new Date(since).toISOString()} to ${new Date(until).toISOString()}`;
  const what = withDenied ? 'let in, or denied since no rule matched' : 'let in';
  const lines = [
    `# The calls to ${namespace}/${service} that were ${what}, ${span}: ${counted(calls, 'call')}.`,
    templates
      ? '# Paths with {*} also admit what was not seen.'
      : '# Callers, methods, paths and ports are exactly those that were seen.',
    '# Hosts, headers and tokens are not looked at.',
  ];
  const why = {
    plaintext: 'came in plain text, from nobody who could be named',
    caller: 'came from an identity that no principal names',
    text: 'have a method or path that a rule cannot name exactly',
  } as const;
  for (const [reason, text] of Object.entries(why)) {
    const count = left[reason as keyof typeof why];
    if (count > 0) lines.push(`# Not admitted: ${counted(count, 'call')} that ${text}.`);
  }
  return lines;
}

function ruleLines(rule: SuggestedRule): string[] {
  const last = new Date(rule.last).toISOString();
  return [
    `  # ${counted(rule.calls, 'call')} of ${counted(rule.principals.length, 'caller')}, the last at ${last}`,
    '  - from:',
    '    - source:',
    '        principals:',
    ...rule.principals.map((principal) => `        - ${quote(principal)}`),
    '    to:',
    ...rule.operations.flatMap(operationLines),
  ];
}

function operationLines({ methods, paths, ports, calls }: SuggestedOperation): string[] {
  const isTcp = methods.length === 0;
  return [
    '    - operation:',
    ...(isTcp
      ? [`        # TCP, ${counted(calls, 'call')}`]
      : [
          `        methods: [${methods.map(quote).join(', ')}]`,
          '        paths:',
          ...paths.map(({ path, calls: some }: CountedPath) => `        - ${quote(path)} # ${some}`),
        ]),
    `        ports: [${ports.map((port) => quote(String(port))).join(', ')}]`,
  ];
}

function counted(count: number, one: string): string {
  return `${count} ${count === 1 ? one : `${one}s`}`;
}

function quote(text: string): string {
  return JSON.stringify(text);
}
