import { createHash } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it } from 'vitest';
import { checkPolicies } from '../../../src/control/ledger/verify/policies-disk.ts';
import { DiskReport } from '../../../src/control/ledger/verify/report.ts';
import { changeOf } from '../../../src/core/audit/admin-change.ts';

const put = 'spec: {}\n';

/** What the ledger says of revision 3, and what the disk has. */
function check(o: {
  readonly recorded?: string;
  readonly source: string;
  readonly revision?: number;
  readonly outcome?: string;
}) {
  const { recorded = put, source, revision = 3, outcome = 'done' } = o;
  const db = new DatabaseSync(':memory:');
  db.exec("create table admin_events (detail text, after_hash text, outcome text); attach ':memory:' as disk");
  const { detail, after } = changeOf({ before: undefined, after: recorded, from: 'shop/a', to: 'shop/a@3' });
  db.prepare('insert into admin_events values (?, ?, ?)').run(detail, after, outcome);
  for (const table of ['policies', 'policy_revisions']) {
    db.exec(`create table disk.${table} (kind text, namespace text, name text, revision integer, source text)`);
    db.prepare(`insert into disk.${table} values ('AuthorizationPolicy', 'shop', 'a', ?, ?)`).run(revision, source);
  }
  const report = new DiskReport();
  checkPolicies(db, 'writ.db', report);
  db.close();
  return { problems: report.problems.map(({ what }) => what), remarks: report.remarks };
}

describe('the policies on a disk', () => {
  it('are those that were put', () => {
    expect(check({ source: put })).toEqual({ problems: [], remarks: [] });
  });

  it('are named when somebody has changed their text, in force or in the history', () => {
    expect(check({ source: 'spec: {action: ALLOW}\n' }).problems).toEqual([
      'policies has AuthorizationPolicy shop/a@3 with another text than the one that was put',
      'policy_revisions has AuthorizationPolicy shop/a@3 with another text than the one that was put',
    ]);
  });

  it('are said not to be checked where no hash of them is on the record', () => {
    const unchecked = [
      'writ.db: the text of 1 policies is not on the record by its hash, and was not checked: AuthorizationPolicy shop/a@4.',
    ];
    expect(check({ source: put, revision: 4 })).toEqual({ problems: [], remarks: unchecked });
    expect(check({ source: put, outcome: 'begun' }).remarks).toHaveLength(1);
  });

  it('cannot vouch for others by what stands in their text', () => {
    const spoofed = '++ shop/b@4\n';
    const { problems, remarks } = check({ recorded: spoofed, source: put, revision: 4 });
    expect({ problems, remarks: remarks.length }).toEqual({ problems: [], remarks: 1 });
    const hash = createHash('sha256').update(spoofed).digest('hex');
    expect(changeOf({ before: undefined, after: spoofed, from: 'x', to: 'y' })).toMatchObject({ after: hash });
  });
});
