import { describe, expect, it } from 'vitest';
import { Protection } from '../../src/control/policies/changes/protection.ts';
import { policyText } from '../edge/rest/world.ts';
import type { Connected } from './server.ts';
import { connect } from './server.ts';

/** A change by somebody else, so that who runs the commands can approve it. */
async function proposed(cli: Connected, ...put: string[]): Promise<number> {
  const change = await cli.rest.deps.changes.propose({ put, author: 'ann', reason: 'TICKET-1\u202e' });
  return change.revision;
}

const lines = (text: string) =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => line.replaceAll(/ +/g, ' '));

describe('writ apply --propose', () => {
  it('writes one change down, of all files and of what --prune would delete, and applies nothing', async () => {
    const cli = await connect();
    await cli.file('old.yaml', policyText('old'));
    await cli.file('same.yaml', policyText('same'));
    await cli.run('apply', '-f', 'old.yaml', '-f', 'same.yaml');
    await cli.file('new.yaml', policyText('new'));
    const args = ['apply', '-f', 'new.yaml', '-f', 'same.yaml', '--prune', '-n', 'shop', '--propose'];
    expect((await cli.run(...args)).stderr).toContain('Add --reason');
    const dry = await cli.run(...args, '--reason', 'x', '--dry-run');
    expect([dry.status, dry.stdout]).toEqual([0, 'policy change proposed: +shop/new, -shop/old (dry run)\n']);
    const { status, stdout, stderr } = await cli.run(...args, '--reason', 'TICKET-1');
    expect([status, stdout]).toEqual([0, 'policy change 3 proposed: +shop/new, -shop/old\n']);
    expect(stderr).toContain('writ policy approve 3');
    expect((await cli.run('get', 'policies', '-o', 'name')).stdout).toBe('policy/shop/old\npolicy/shop/same\n');
    expect((await cli.run('policy', 'apply', '3')).stdout).toBe('policy change 3 applied\n');
    expect((await cli.run('get', 'policies', '-o', 'name')).stdout).toBe('policy/shop/new\npolicy/shop/same\n');
  });

  it('is what the refusal of a direct apply asks for', async () => {
    const rules = new Map([['shop', { requireApproval: true, requirePlan: false }]]);
    const protection = new Protection({ namespaces: rules, rootNamespace: 'writ-system' });
    const cli = await connect({ changes: { protection } });
    await cli.file('web.yaml', policyText('web'));
    const refused = await cli.run('apply', '-f', 'web.yaml');
    expect([refused.status, refused.stderr]).toEqual([5, expect.stringMatching(/second person[\s\S]*--propose/)]);
    await cli.run('apply', '-f', 'web.yaml', '--propose', '--reason', 'x');
    const own = await cli.run('policy', 'approve', '1');
    expect([own.status, own.stderr]).toEqual([4, expect.stringContaining('somebody else must approve')]);
  });
});

describe('writ policy changes', () => {
  it('lists what was proposed and what became of it', async () => {
    const cli = await connect();
    const first = await proposed(cli, policyText('web'), policyText('orders'));
    const second = await proposed(cli, policyText('web', { namespace: 'bank' }));
    expect((await cli.run('policy', 'approve', `${first}`, '--reason', 'fine')).stdout).toBe(
      `policy change ${first} approved\n`,
    );
    expect((await cli.run('policy', 'reject', `${second}`, '--reason', 'too wide')).status).toBe(0);
    const { stdout } = await cli.run('policy', 'changes');
    expect(lines(stdout)).toEqual([
      'CHANGE STATE AGE AUTHOR APPROVER DOCUMENTS REASON WHY',
      `${second} rejected 0s ann - +bank/web TICKET-1\\u{202e} too wide`,
      `${first} approved 0s ann admin +shop/web and 1 more TICKET-1\\u{202e} -`,
    ]);
    expect((await cli.run('policy', 'changes', '-n', 'bank', '-o', 'name')).stdout).toBe(`policy-change/${second}\n`);
    expect((await cli.run('policy', 'changes', '--state', 'approved', '--limit', '1', '-o', 'name')).stdout).toBe(
      `policy-change/${first}\n`,
    );
  });

  it('shows one with what it changes and all that happened, and nothing in it steers the terminal', async () => {
    const cli = await connect();
    const revision = await proposed(cli, `${policyText('web')}# \u202e\n`);
    const { stdout } = await cli.run('policy', 'changes', `${revision}`);
    expect(stdout).toMatch(/^policy change 1 {2}proposed\nby {7}ann, 0s ago: TICKET-1\\u\{202e\}\n/);
    expect(stdout).toContain('\n+shop/web\n--- /dev/null\n');
    expect(stdout).toContain('\n+# \\u{202e}\n');
    expect(stdout).toContain('ann proposed: TICKET-1');
    const json = await cli.run('policy', 'changes', `${revision}`, '-o', 'json');
    expect(JSON.parse(json.stdout)).toMatchObject({ revision, events: [{ actor: 'ann' }] });
  });

  it.each([
    [['changes', 'x'], 2, 'must be a whole number'],
    [['changes', '7'], 1, 'There is no policy change 7'],
    [['approve', '0'], 2, 'must be a whole number'],
    [['changes', '--state', 'gone'], 2, 'state'],
  ])('%j ends with %i', async (argv, status, message) => {
    const cli = await connect();
    const run = await cli.run('policy', ...argv);
    expect([run.status, run.stderr]).toEqual([status, expect.stringContaining(message)]);
  });
});

describe('writ policy rollout', () => {
  it('starts with the steps, the time and the bounds that were asked for; status says how far it is', async () => {
    const cli = await connect();
    const revision = await proposed(cli, policyText('web'));
    const args = ['--steps', '1%, 50%,100', '--bake', '30s', '--max-denials', '0.5%', '--max-errors', '2'];
    const { stdout, stderr } = await cli.run('policy', 'rollout', `${revision}`, ...args);
    expect(stdout).toBe(`policy change ${revision} is rolling out\n`);
    expect(stderr).toContain(`writ policy status ${revision} --wait`);
    const { rollout } = await cli.rest.deps.changeViews.get(revision);
    expect(rollout).toMatchObject({ steps: [1, 50, 100], bakeMs: 30_000, bounds: { denials: 0.005, errors: 0.02 } });
    const status = await cli.run('policy', 'status', `${revision}`);
    expect([status.status, status.stdout]).toEqual([
      0,
      `policy change ${revision} step 1 of 3: 1% (0 sidecars), waiting for the sidecars; 0 calls, 0 denied, 0 failed\n`,
    ]);
    expect((await cli.run('policy', 'changes')).stdout).toContain('rolling 1%');
    await cli.run('policy', 'abort', `${revision}`, '--reason', 'changed my mind');
    const over = await cli.run('policy', 'status', `${revision}`, '--wait');
    expect([over.status, over.stdout]).toEqual([1, `policy change ${revision} rolled-back: changed my mind\n`]);
  });

  it('--wait ends when it is over, and says how it ended', async () => {
    const cli = await connect();
    const revision = await proposed(cli, policyText('web'));
    const waiting = cli.run('policy', 'rollout', `${revision}`, '--wait');
    await expect.poll(() => cli.printed.stderr).toContain('waiting for the sidecars');
    await cli.rest.deps.changes.abort({ revision, by: 'ann', reason: 'no' });
    await expect.poll(() => cli.rest.clock.advance(1_000).then(() => cli.printed.stdout)).toContain('rolled-back');
    expect((await waiting).status).toBe(1);
  });

  it.each([
    [['--steps', '1%,x'], '--steps takes percentages'],
    [['--steps', '200'], '--steps takes percentages'],
    [['--steps', '50,10,100'], 'must be percentages that grow'],
    [['--bake', '0s'], '--bake must be a duration'],
    [['--max-denials', '-1'], '--max-denials takes percentages'],
  ])('%j is refused', async (argv, message) => {
    const cli = await connect();
    const revision = await proposed(cli, policyText('web'));
    const run = await cli.run('policy', 'rollout', `${revision}`, ...argv);
    expect([run.status, run.stderr]).toEqual([2, expect.stringContaining(message)]);
  });
});
