import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { Watch } from '../../base/watch.ts';
import { workloadId } from '../../core/identity/spiffe-id.ts';
import { parsePolicies } from '../../core/policy/parse.ts';
import { selects } from '../../core/policy/selects.ts';
import type { Suggestion } from '../../core/policy/suggest.ts';
import { Suggester } from '../../core/policy/suggest.ts';
import { suggestionText } from '../../core/policy/suggestion-text.ts';
import { readRecordedCalls } from '../ledger/recorded-calls.ts';
import type { Store } from '../store/store.ts';
import type { PolicySet } from './current.ts';
import type { KnownEntries } from './plan.ts';

export interface SuggestInput {
  readonly namespace: string;
  readonly service: string;
  /** Of the calls, in milliseconds since the epoch. Default: 7 days before `until`. */
  readonly since?: number | undefined;
  /** Default: now. */
  readonly until?: number | undefined;
  /** Paths that differ in ids become one. Default false. */
  readonly templates?: boolean | undefined;
  /** Calls that no rule matched are admitted too. Default false. */
  readonly withDenied?: boolean | undefined;
}

export interface PolicySuggestion {
  /** YAML. */
  readonly text: string;
  readonly suggestion: Suggestion;
  readonly since: number;
  readonly until: number;
  /** Calls of the window that no rule matched; without `withDenied` they are not admitted. */
  readonly deniedByDefault: number;
  /** ALLOW policies in force that select the service: with them, the suggestion takes nothing away. */
  readonly inForce: readonly string[];
}

export interface SuggestionsOptions {
  readonly store: Store;
  readonly policies: Watch<PolicySet>;
  readonly entries: KnownEntries;
  readonly trustDomain: string;
  readonly rootNamespace: string;
  readonly clock: Clock;
}

const DEFAULT_WINDOW_MS = 7 * 24 * 60 * 60_000;
/** At a time. */
const MAX_RUNNING = 2;

/** Writes policies from what was seen. */
export class Suggestions {
  readonly #options: SuggestionsOptions;
  #running = 0;

  constructor(options: SuggestionsOptions) {
    this.#options = options;
  }

  /**
   * The least that admits the calls of a window to one service. Throws `not-found` when there were none, `invalid` for names or
   * a window that are none, `too-large` for what does not fit into one policy, and `exhausted` while too many others ask.
   */
  async suggest(input: SuggestInput, signal?: AbortSignal): Promise<PolicySuggestion> {
    if (this.#running >= MAX_RUNNING) {
      throw new AppError(
        'exhausted',
        `${MAX_RUNNING} suggestions are being made already. Try again when they are done.`,
        {
          retryAfterSeconds: 10,
        },
      );
    }
    this.#running += 1;
    try {
      return await this.#suggest(input, signal);
    } finally {
      this.#running -= 1;
    }
  }

  async #suggest(input: SuggestInput, signal: AbortSignal | undefined): Promise<PolicySuggestion> {
    const { store, trustDomain, clock } = this.#options;
    const { namespace, service, templates = false, withDenied = false } = input;
    const until = input.until ?? clock.now();
    const since = input.since ?? until - DEFAULT_WINDOW_MS;
    if (since >= until) throw new AppError('invalid', 'The window ends before it begins: since must be before until.');
    const destination = workloadId(trustDomain, namespace, service).uri;
    const suggester = new Suggester({ templates });
    let deniedByDefault = 0;
    for await (const { calls } of readRecordedCalls(store.db, { since, until, destination }, signal)) {
      for (const call of calls) {
        const isDefault = call.reason === 'default-deny';
        if (isDefault) deniedByDefault += call.calls;
        if (call.decision === 'allow' || (isDefault && withDenied)) suggester.add(call);
      }
    }
    await this.#options.entries.settled();
    const suggestion = suggester.result();
    if (suggestion.rules.length === 0) throw nothingSeen(input, suggestion, deniedByDefault);
    const name = `suggested-${service}`.slice(0, 253);
    const text = suggestionText(suggestion, { namespace, service, name, since, until, templates, withDenied });
    // What is offered can be applied: the parser has the last word.
    parsePolicies(text);
    return Object.freeze({
      text,
      suggestion,
      since,
      until,
      deniedByDefault,
      inForce: this.#inForce(input, destination),
    });
  }

  #inForce({ namespace, service }: SuggestInput, destination: string): readonly string[] {
    const { policies, entries, rootNamespace } = this.#options;
    const workload = { namespace, service, labels: entries.current.current.ofIdentity(destination)?.labels ?? {} };
    return policies.current.policies
      .filter((policy) => policy.action === 'ALLOW' && policy.shadow !== true && policy.direction !== 'egress')
      .filter((policy) => selects(policy, workload, rootNamespace))
      .map((policy) => `${policy.namespace}/${policy.name}`);
  }
}

function nothingSeen({ namespace, service }: SuggestInput, { left }: Suggestion, deniedByDefault: number): AppError {
  const unnamed = left.plaintext + left.caller + left.text;
  const others = [
    ...(deniedByDefault > 0
      ? [`${deniedByDefault} were denied since no rule matched (admit them with --with-denied)`]
      : []),
    ...(unnamed > 0 ? [`${unnamed} cannot be named exactly by a rule`] : []),
  ];
  const hint = others.length > 0 ? ` Of those that came, ${others.join(', ')}.` : ' Choose a longer window.';
  return new AppError('not-found', `No call to ${namespace}/${service} was let in in this time.${hint}`);
}
