import { describe, expect, it } from 'vitest';
import { connect } from './server.ts';

describe('audit reindex', () => {
  it('has the index built again, and waits for it; searches say so meanwhile', async () => {
    const cli = await connect();
    expect((await cli.run('audit', 'search')).stderr).toBe('Nothing found.\n');
    let isRunning = true;
    const running = cli.run('audit', 'reindex').finally(() => {
      isRunning = false;
    });
    await expect.poll(() => cli.rest.audit.state.rebuilding).toBe(true);
    expect((await cli.run('audit', 'search')).stderr).toBe(
      'Not everything is found: the search index is being built again (0 of 3 batches).\nNothing found.\n',
    );
    cli.rest.audit.state = { indexed: 3, batches: 3, rebuilding: false };
    while (isRunning) await cli.rest.clock.advance(500);
    expect(await running).toMatchObject({ status: 0, stdout: 'The search index is built again: 3 batches.\n' });
  });

  it('need not be waited for', async () => {
    const cli = await connect();
    expect(await cli.run('audit', 'reindex', '--no-wait')).toMatchObject({ status: 0, stderr: '' });
    expect(cli.rest.audit.state.rebuilding).toBe(true);
  });
});
