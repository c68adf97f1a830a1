import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { decision, shippingIdentity } from '../support/audit.ts';
import { logWorld, openTestLog, SignedLedger } from '../support/audit-log.ts';
import { dataDirectory } from '../support/data-directory.ts';
import { testSidecar } from '../support/test-sidecar.ts';
import { connect } from './server.ts';

const page = readFileSync(join(import.meta.dirname, '../../docs/audit.md'), 'utf8');

/** The commands of the page, in order, each with where its output goes. */
const commands = [...page.matchAll(/```sh\n([\s\S]*?)```/g)]
  .flatMap(([, block = '']) => block.trim().split('\n'))
  .map((line) => {
    const [command = '', into] = line.split(' > ');
    return { argv: command.split(' ').slice(1), into };
  });

describe('docs/audit.md', () => {
  it('has commands that work, one after the other', async () => {
    const sources = logWorld({ ledger: new SignedLedger([testSidecar(shippingIdentity('sidecar-a'))]) });
    const { log, sequencer } = await openTestLog(sources);
    sources.ledger.add([decision(), decision()]);
    await sequencer.step();
    const cli = await connect({ deps: { log, logIsPublic: true } });
    // Built again in no time.
    cli.rest.audit.rebuild = async () => undefined;
    const data = await dataDirectory();
    const dataPolicy = await cli.file('data-policy.txt', data.policy.toString('utf8'));
    expect(commands.length).toBeGreaterThan(6);
    for (const { argv, into } of commands) {
      const words = argv.map((word) =>
        word.replace('EVENT_ID', 'sidecar-a.1.2').replace('https://audit.example.org', cli.url),
      );
      // A disk of another control plane: this one has none.
      if (words.includes('--data')) {
        words[words.indexOf('/var/lib/writ')] = data.directory;
        words[words.indexOf('policy.txt')] = dataPolicy;
      }
      const { status, stdout, stderr } = await cli.run(...words);
      expect({ words, status, stderr: status === 0 ? '' : stderr }).toEqual({ words, status: 0, stderr: '' });
      if (into !== undefined) await cli.file(into, stdout);
    }
  });
});
