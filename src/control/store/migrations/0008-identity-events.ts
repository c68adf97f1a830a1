import type { Migration } from '../migration.ts';

/**
 * Identity events in the search index over the ledger. No ledger holds any before this version, so the index need not be
 * built again. Every filter has an index that ends in (time, place), the order of the results.
 */
export const identityEvents: Migration = {
  name: '0008-identity-events',
  statements: (t) => [
    `create table identity_events (
      recorder ${t.text} not null,
      epoch ${t.bigint} not null,
      seq ${t.bigint} not null,
      place ${t.bigint} not null,
      leaf ${t.bigint} not null,
      time ${t.bigint} not null,
      action ${t.text} not null,
      outcome ${t.text} not null,
      subject ${t.text} not null,
      subject_start ${t.text} not null,
      actor ${t.text} not null,
      actor_start ${t.text} not null,
      entry ${t.text} not null,
      instance ${t.text} not null,
      serial ${t.text} not null,
      method ${t.text} not null,
      selectors ${t.text} not null,
      audience ${t.text} not null,
      expires_at ${t.bigint} not null,
      reason ${t.text} not null,
      source ${t.text} not null,
      primary key (recorder, epoch, seq)
    )${t.strict}`,
    `create index identity_events_by_time on identity_events (time, place)`,
    `create index identity_events_by_subject on identity_events (subject_start, time, place)`,
    `create index identity_events_by_actor on identity_events (actor_start, time, place)`,
    `create index identity_events_by_action on identity_events (action, time, place)`,
    `create index identity_events_by_outcome on identity_events (outcome, time, place)`,
    `create index identity_events_by_entry on identity_events (entry, time, place)`,
    `create index identity_events_by_serial on identity_events (serial, time, place)`,
  ],
};
