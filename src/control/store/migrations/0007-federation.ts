import type { Migration } from '../migration.ts';

/** Other trust domains, and the newest bundle of each. Two tables: what an operator decides, and what the partner says. */
export const federation: Migration = {
  name: '0007-federation',
  statements: (t) => [
    `create table federation_relationships (
      trust_domain ${t.text} primary key,
      bundle_url ${t.text} not null,
      profile ${t.text} not null check (profile in ('https_web', 'https_spiffe')),
      endpoint_spiffe_id ${t.text},
      ca_certificates ${t.text},
      services ${t.text} not null,
      revision ${t.bigint} not null,
      created_at ${t.bigint} not null,
      updated_at ${t.bigint} not null
    )${t.strict}`,
    // "sequence" is text: it has up to 64 bits without a sign.
    `create table federation_bundles (
      trust_domain ${t.text} primary key references federation_relationships (trust_domain) on delete cascade,
      document ${t.text},
      sequence ${t.text},
      refresh_hint_seconds ${t.bigint},
      fetched_at ${t.bigint},
      checked_at ${t.bigint},
      last_error ${t.text},
      revision ${t.bigint} not null
    )${t.strict}`,
  ],
};
