import { shortName } from './api.ts';
import { count } from './policy-files.ts';
import type { Style } from './style.ts';
import { safe } from './style.ts';
import { relative, table } from './table.ts';

/** What the API says of a plan, as far as it is shown. */
export interface PlanAnswer {
  readonly baseRevision: number;
  readonly changes: readonly {
    readonly kind: string;
    readonly namespace: string;
    readonly name: string;
    readonly operation: 'create' | 'replace' | 'delete' | 'same';
  }[];
  readonly window: { readonly since: string; readonly until: string; readonly replayedFrom: string };
  readonly calls: {
    readonly recorded: number;
    readonly replayed: number;
    readonly untouched: number;
    readonly notReplayed: Readonly<Record<string, number>>;
  };
  readonly newlyDenied: FlipAnswer;
  readonly newlyAllowed: FlipAnswer;
  readonly unknown: FlipAnswer;
  readonly unused: readonly string[];
  readonly expectations: {
    readonly passed: number;
    readonly failed: number;
    readonly cases: readonly CaseAnswer[];
  };
  readonly notes: readonly string[];
}

export interface FlipAnswer {
  readonly calls: number;
  readonly groups: readonly GroupAnswer[];
  readonly unlisted: { readonly groups: number; readonly calls: number };
}

interface GroupAnswer {
  readonly source: string;
  readonly destination: string;
  readonly operation: {
    readonly protocol: string;
    readonly method: string;
    readonly path: string;
    readonly port: number;
  };
  readonly calls: number;
  readonly lastSeen: string;
  readonly examples: readonly string[];
  readonly before: { readonly decision: string; readonly rule: string };
  readonly after: { readonly decision: string; readonly rule: string };
  readonly because: readonly string[];
}

export interface CaseAnswer {
  readonly name: string;
  readonly passed: boolean;
  readonly expected: { readonly decision: string; readonly rule?: string };
  readonly decision: string;
  readonly reason: string;
  readonly rule: string;
  readonly asks: readonly string[];
  readonly considered: readonly {
    readonly rule: string;
    readonly matched: boolean;
    readonly failed: readonly string[];
  }[];
  readonly notes: readonly string[];
  readonly line: number | null;
}

/** Whether nothing recorded would be decided otherwise, for certain, and everything is as expected. */
export function isHarmless({ newlyDenied, newlyAllowed, unknown, expectations }: PlanAnswer): boolean {
  return newlyDenied.calls + newlyAllowed.calls + unknown.calls + expectations.failed === 0;
}

/** Groups of one sort that are shown; the rest is counted. */
const SHOWN = 20;

/** For people: the changes, what flips, what is not known, what nobody needs. */
export function showPlan(plan: PlanAnswer, style: Style, now: number): string {
  const { calls, expectations, unused, notes } = plan;
  const lines = plan.changes.map(
    ({ operation, kind, namespace, name }) => `${words[operation]}  ${kind} ${safe(`${namespace}/${name}`)}`,
  );
  if (lines.length === 0) lines.push('Nothing is changed; these are the policies in force.');
  lines.push(
    `${count(calls.replayed, 'call')} replayed, recorded ${plan.window.replayedFrom} to ${plan.window.until}, ` +
      `against revision ${plan.baseRevision}.`,
  );
  const others = Object.entries(calls.notReplayed);
  if (others.length > 0) {
    const listed = others.map(([reason, some]) => `${some} ${reason}`).join(', ');
    lines.push(style.dim(`Not replayed, since they were refused for other reasons: ${listed}.`));
  }
  lines.push(...section('Newly denied', plan.newlyDenied, style.red, now));
  lines.push(...section('Newly allowed', plan.newlyAllowed, style.yellow, now));
  lines.push(...section('Not known', plan.unknown, style.yellow, now));
  if (plan.newlyDenied.calls + plan.newlyAllowed.calls + plan.unknown.calls === 0 && calls.replayed > 0) {
    lines.push(style.green('No recorded call would be decided otherwise.'));
  }
  if (unused.length > 0) lines.push(`Needed by no call of the window: ${safe(unused.join(', '))}`);
  if (expectations.passed + expectations.failed > 0) {
    const colour = expectations.failed > 0 ? style.red : style.green;
    lines.push(colour(`Expectations: ${expectations.passed} met, ${expectations.failed} not.`));
    for (const one of expectations.cases) lines.push(...showFailure(one, style));
  }
  for (const note of notes) lines.push(`${style.yellow('note')}  ${safe(note)}`);
  return `${lines.join('\n')}\n`;
}

const words = { create: 'create ', replace: 'replace', delete: 'delete ', same: 'same   ' } as const;

function section(title: string, flip: FlipAnswer, colour: (text: string) => string, now: number): string[] {
  if (flip.calls === 0) return [];
  const shown = flip.groups.slice(0, SHOWN);
  const isUnknown = flip.groups.some((group) => group.because.length > 0);
  const columns = [
    { head: 'CALLS', cell: (group: GroupAnswer) => String(group.calls) },
    { head: 'FROM', cell: ({ source }: GroupAnswer) => (source === '' ? 'plaintext' : shortName(source)) },
    { head: 'TO', cell: ({ destination }: GroupAnswer) => shortName(destination) },
    { head: 'OPERATION', cell: operationOf },
    { head: 'LAST', cell: (group: GroupAnswer) => relative(group.lastSeen, now) },
    { head: 'BEFORE', cell: (group: GroupAnswer) => ruleOf(group.before) },
    { head: 'AFTER', cell: (group: GroupAnswer) => ruleOf(group.after) },
    ...(isUnknown ? [{ head: 'DEPENDS ON', cell: (group: GroupAnswer) => group.because.join(', ') }] : []),
    { head: 'EXAMPLE', cell: (group: GroupAnswer) => group.examples[0] ?? '' },
  ];
  const rest = flip.calls - shown.reduce((sum, group) => sum + group.calls, 0);
  const more = rest > 0 ? [`… and ${count(rest, 'call')} more; all groups: -o json`] : [];
  return [
    colour(`${title}: ${count(flip.calls, 'call')}`),
    ...table(columns, shown, now)
      .trimEnd()
      .split('\n')
      .map((line) => `  ${line}`),
    ...more,
  ];
}

function operationOf({ operation: { protocol, method, path, port } }: GroupAnswer): string {
  return protocol === 'tcp' ? `TCP :${port}` : `${method} ${path}`;
}

function ruleOf({ decision, rule }: GroupAnswer['before']): string {
  const shown = rule.replace(/@0(?=#\d+$)/, ' (new)');
  return decision === 'unknown' ? `maybe ${shown}` : shown;
}

/** A case that was decided otherwise than expected, and what each rule lacked. */
export function showFailure(one: CaseAnswer, style: Style, file = ''): string[] {
  const place = [file, one.line].filter((part) => part !== '' && part !== null).join(':');
  const wanted =
    one.expected.rule === undefined ? one.expected.decision : `${one.expected.decision} by ${one.expected.rule}`;
  return [
    `  ${style.red('✗')} ${safe(one.name)}${place === '' ? '' : safe(` (${place})`)}: expected ${safe(wanted)}, got ${one.decision} by ${safe(one.rule)}`,
    ...one.considered.map((rule) =>
      style.dim(
        `      ${safe(rule.rule)} ${rule.matched ? 'matched' : `did not match: ${safe(rule.failed.join(', '))}`}`,
      ),
    ),
    ...one.notes.map((note) => `      ${style.yellow('note')} ${safe(note)}`),
  ];
}
