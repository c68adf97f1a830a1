import { Type } from 'typebox';
import type { Clock } from '../../base/clock.ts';
import type { Suggestions } from '../../control/policies/suggest.ts';
import type { App } from './app.ts';
import { hungUp } from './hung-up.ts';
import { closed, namespaceName, objectName, time } from './schemas.ts';
import { parseTime, toTime } from './time.ts';

const when = (description: string) => Type.Optional(Type.String({ minLength: 1, maxLength: 64, description }));
const count = (description: string) => Type.Integer({ minimum: 0, description });

export interface PolicySuggestDeps {
  readonly suggestions: Pick<Suggestions, 'suggest'>;
  readonly clock: Clock;
}

/** POST /v1/policies:suggest */
export function policySuggest(app: App, deps: PolicySuggestDeps): void {
  app.post(
    '/v1/policies::suggest',
    {
      config: { readOnly: true },
      schema: {
        operationId: 'suggestPolicy',
        summary: 'The least-privilege policy that admits the recorded calls to a service.',
        tags: ['policies'],
        querystring: Type.Object({}, closed),
        body: Type.Object(
          {
            namespace: namespaceName,
            service: objectName,
            since: when('Calls at or after: RFC 3339, or an age such as 15m, 2h, 7d. Default: 7d.'),
            until: when('Calls before. Default: now.'),
            templates: Type.Optional(
              Type.Boolean({ default: false, description: 'Paths that differ in ids become one with {*}: wider.' }),
            ),
            withDenied: Type.Optional(
              Type.Boolean({ default: false, description: 'Admit calls that were denied since no rule matched, too.' }),
            ),
          },
          closed,
        ),
        response: {
          200: Type.Object(
            {
              policy: Type.String({ description: 'YAML, with what was seen as comments.' }),
              since: time,
              until: time,
              calls: count('That it admits.'),
              callers: count('Who made them.'),
              notAdmitted: Type.Object(
                {
                  plaintext: count('From nobody who could be named.'),
                  caller: count('From an identity that no principal names.'),
                  text: count('With a method or path that a rule cannot name exactly.'),
                },
                closed,
              ),
              deniedByDefault: count('Calls that no rule matched.'),
              inForce: Type.Array(Type.String(), {
                description:
                  'ALLOW policies that are in force for the service: as long as they are, this one takes nothing away.',
              }),
            },
            closed,
          ),
        },
      },
    },
    async (request, reply) => {
      const now = deps.clock.now();
      const { since, until, ...asked } = request.body;
      const input = {
        ...asked,
        ...(since !== undefined && { since: parseTime(since, 'since', now) }),
        ...(until !== undefined && { until: parseTime(until, 'until', now) }),
      };
      const { text, suggestion, deniedByDefault, inForce, ...window } = await deps.suggestions.suggest(
        input,
        hungUp(reply),
      );
      return {
        policy: text,
        since: toTime(window.since),
        until: toTime(window.until),
        calls: suggestion.calls,
        callers: suggestion.rules.reduce((sum, rule) => sum + rule.principals.length, 0),
        notAdmitted: { ...suggestion.left },
        deniedByDefault,
        inForce: [...inForce],
      };
    },
  );
}
