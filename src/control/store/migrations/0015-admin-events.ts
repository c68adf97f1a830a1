import type { Migration } from '../migration.ts';

/**
 * Administrative events in the search index over the ledger, and the roles of tokens. No ledger holds any such event before this
 * version, so the index need not be built again. Tokens from before there were roles could do everything, and still can.
 */
export const adminEvents: Migration = {
  name: '0015-admin-events',
  statements: (t) => [
    `alter table admin_tokens add column role ${t.text} not null default 'admin'`,
    `create table admin_events (
      recorder ${t.text} not null,
      epoch ${t.bigint} not null,
      seq ${t.bigint} not null,
      place ${t.bigint} not null,
      leaf ${t.bigint} not null,
      time ${t.bigint} not null,
      action ${t.text} not null,
      outcome ${t.text} not null,
      settled ${t.bigint} not null,
      actor ${t.text} not null,
      role ${t.text} not null,
      credential ${t.text} not null,
      source ${t.text} not null,
      operation ${t.text} not null,
      permission ${t.text} not null,
      object ${t.text} not null,
      object_start ${t.text} not null,
      query ${t.text} not null,
      request ${t.text} not null,
      status ${t.bigint} not null,
      count ${t.bigint} not null,
      last_time ${t.bigint} not null,
      before_hash ${t.text} not null,
      after_hash ${t.text} not null,
      detail ${t.text} not null,
      reason ${t.text} not null,
      primary key (recorder, epoch, seq)
    )${t.strict}`,
    `create index admin_events_by_time on admin_events (time, place)`,
    `create index admin_events_by_actor on admin_events (actor, time, place)`,
    `create index admin_events_by_action on admin_events (action, time, place)`,
    `create index admin_events_by_outcome on admin_events (outcome, time, place)`,
    `create index admin_events_by_operation on admin_events (operation, time, place)`,
    `create index admin_events_by_permission on admin_events (permission, time, place)`,
    `create index admin_events_by_object on admin_events (object_start, time, place)`,
    `create index admin_events_by_source on admin_events (source, time, place)`,
    `create index admin_events_by_request on admin_events (request, time, place)`,
  ],
};
