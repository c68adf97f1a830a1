import type { Migration } from '../migration.ts';

/**
 * The search index over the ledger. Each filter of a search has an index that ends in (time, place), the order in which
 * results are listed, so that a page is read off the index without sorting.
 */
export const audit: Migration = {
  name: '0002-audit',
  statements: (t) => [
    `create table audit_cursor (
      id integer primary key check (id = 1),
      leaf ${t.bigint} not null
    )${t.strict}`,
    `insert into audit_cursor (id, leaf) values (1, 0)`,

    `create table audit_records (
      sidecar ${t.text} not null,
      epoch ${t.bigint} not null,
      seq ${t.bigint} not null,
      place ${t.bigint} not null,
      leaf ${t.bigint} not null,
      call ${t.text} not null,
      event_hash ${t.text} not null,
      time ${t.bigint} not null,
      source ${t.text} not null,
      destination ${t.text} not null,
      protocol ${t.text} not null,
      method ${t.text} not null,
      host ${t.text} not null,
      path ${t.text} not null,
      path_start ${t.text} not null,
      port integer not null,
      decision ${t.text} not null,
      reason ${t.text} not null,
      rule ${t.text} not null,
      policy_revision ${t.bigint} not null,
      trace_id ${t.text} not null,
      token_subject ${t.text} not null,
      certificate_serial ${t.text} not null,
      primary key (sidecar, epoch, seq)
    )${t.strict}`,
    // A sidecar whose spool was restored from a backup may record a call again, in a new epoch: it is shown once. One that
    // says something else of the call, as its hash tells, becomes a note.
    `create unique index audit_records_by_call on audit_records (sidecar, call)`,
    `create index audit_records_by_time on audit_records (time, place)`,
    `create index audit_records_by_source on audit_records (source, time, place)`,
    `create index audit_records_by_destination on audit_records (destination, time, place)`,
    `create index audit_records_by_decision on audit_records (decision, time, place)`,
    `create index audit_records_by_rule on audit_records (rule, time, place)`,
    `create index audit_records_by_path on audit_records (path_start, time, place)`,
    `create index audit_records_by_trace on audit_records (trace_id, time, place)`,

    `create table audit_completions (
      sidecar ${t.text} not null,
      call ${t.text} not null,
      time ${t.bigint} not null,
      status integer not null,
      duration_ms ${t.bigint} not null,
      bytes_in ${t.bigint} not null,
      bytes_out ${t.bigint} not null,
      primary key (sidecar, call)
    )${t.strict}`,

    // One event may deserve notes of several kinds.
    `create table audit_notes (
      sidecar ${t.text} not null,
      epoch ${t.bigint} not null,
      seq ${t.bigint} not null,
      leaf ${t.bigint} not null,
      kind ${t.text} not null check (kind in ('gap', 'unreadable', 'foreign', 'repeated-call', 'clock')),
      time ${t.bigint} not null,
      detail ${t.text} not null,
      primary key (sidecar, epoch, seq, kind)
    )${t.strict}`,
  ],
};
