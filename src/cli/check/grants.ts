import { nextReminder, reminderAt } from '../../core/policy/reminders.ts';
import { listAll } from '../kinds.ts';
import { documentKinds } from '../policy-kinds.ts';
import { span } from '../table.ts';
import type { Check } from './result.ts';
import { ok, warning } from './result.ts';

/** So many are named. */
const MAX_NAMED = 10;

/** Policies with a `validity`: what only they allow is denied from its end on. */
export const grants: Check = {
  group: 'policies',
  title: 'none has ended or ends within a week',
  async run({ client, world }) {
    const now = world.clock.now();
    const all = await listAll(client, documentKinds.AuthorizationPolicy, {});
    const bounded = all.flatMap(({ metadata: { namespace, name }, spec: { validity } }) => {
      const end = Date.parse(validity?.notAfter ?? '');
      return Number.isNaN(end) ? [] : [{ name: `${namespace}/${name}`, end }];
    });
    const due = bounded.filter(({ end }) => reminderAt(end, now) !== undefined).sort((a, b) => a.end - b.end);
    if (due.length === 0) return ok(bounded.length === 0 ? undefined : `${bounded.length} that end later`);
    const named = due.slice(0, MAX_NAMED).map(({ name, end }) => {
      const away = span(Math.abs(end - now) / 1000);
      return nextReminder(end, now) === undefined ? `${name} ended ${away} ago` : `${name} ends in ${away}`;
    });
    const more = due.length > MAX_NAMED ? [`${due.length - MAX_NAMED} more`] : [];
    return warning(
      [...named, ...more].join(', '),
      'What only they allow is denied from then on. Give them a new end, or delete them: writ policy history says who wrote them.',
    );
  },
};
