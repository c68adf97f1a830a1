import { createHash } from 'node:crypto';
import type { DatabaseSync } from 'node:sqlite';
import type { DiskReport } from './report.ts';

const SHOWN = 5;

/**
 * Holds the policies in the database, those in force and all before them, against the record of who changed them: what was put by a
 * request is on it with its revision and the hash of its text. `record` is a database with the administrative events as the
 * ledger has them.
 *
 * Policies that came with a change of several documents, or from before there was such a record, have no hash on it; they are
 * counted in a remark, and not checked.
 */
export function checkPolicies(record: DatabaseSync, file: string, report: DiskReport): void {
  const hashes = new Map<number, string>();
  for (const { detail, after_hash: after } of record
    .prepare("select detail, after_hash from main.admin_events where outcome = 'done' and after_hash <> ''")
    .iterate()) {
    // Only the head of the difference: what follows is the text of whoever put the policy.
    const revision = /^--- [^\n]*\n\+\+\+ [^\s@]+@(\d+)\n/.exec(String(detail))?.[1];
    if (revision !== undefined) hashes.set(Number(revision), String(after));
  }
  const unknown: string[] = [];
  for (const table of ['policies', 'policy_revisions']) {
    for (const row of record
      .prepare(`select kind, namespace, name, revision, source from disk.${table} where source is not null`)
      .iterate()) {
      const name = `${row.kind} ${row.namespace}/${row.name}@${row.revision}`;
      const expected = hashes.get(Number(row.revision));
      const found = createHash('sha256').update(String(row.source), 'utf8').digest('hex');
      if (expected === undefined) unknown.push(name);
      else if (expected !== found)
        report.problem({ file, what: `${table} has ${name} with another text than the one that was put` });
    }
  }
  if (unknown.length === 0) return;
  const names = [...new Set(unknown)];
  report.remark(
    `${file}: the text of ${names.length} policies is not on the record by its hash, and was not checked: ${names.slice(0, SHOWN).join(', ')}${names.length > SHOWN ? ', …' : ''}.`,
  );
}
