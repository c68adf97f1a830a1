import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { readConfig } from '../../src/base/config.ts';
import type { SinkStatus } from '../../src/control/ledger/sinks/sink.ts';
import { sinksConfig, sinksRules, sinksSchema } from '../../src/main/sinks-config.ts';
import { connect } from '../cli/server.ts';

const page = await readFile(new URL('../../docs/sinks.md', import.meta.url), 'utf8');
const blocks = (language: string) =>
  [...page.matchAll(new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``, 'g'))].map((match) => match[1] ?? '');

const siem: SinkStatus = {
  ...{ name: 'siem', type: 'webhook', format: 'ocsf', guarantee: 'at-least-once', state: 'failing', position: 3 },
  ...{ since: Date.UTC(2026, 0, 1), lagBatches: 2, lagMs: 61_000, delivered: 9, rejected: 1, lastDeliveredAt: null },
  lastError: { at: Date.UTC(2026, 0, 1), message: 'unavailable: The receiver answered 503.' },
};

describe('docs/sinks.md', () => {
  it('its configuration is one that the server takes, with a sink of every type', () => {
    const [text = ''] = blocks('yaml');
    const file = { name: 'writ.yaml', text };
    const sinks = sinksConfig(readConfig(sinksSchema, { flags: {}, env: {}, file }, { rules: sinksRules }));
    expect(sinks.map(({ type }) => type)).toEqual(['file', 'webhook', 'syslog', 'otlp', 'splunk']);
  });

  it('names every key of a sink', () => {
    const [sink] = sinksConfig({ 'audit.sinks': [{ name: 'a', type: 'file' } as never] });
    for (const key of Object.keys(sink ?? {})) expect(page, key).toContain(`\`${key}\``);
  });

  it('every command does what it says', async () => {
    const cli = await connect({ deps: { sinks: () => [siem] } });
    const commands = blocks('sh').flatMap((block) => block.trimEnd().split('\n'));
    expect(commands).toHaveLength(3);
    for (const command of commands) {
      const { status, stdout, stderr } = await cli.run(...command.split(' ').slice(1));
      expect({ command, status, stderr }).toMatchObject({ command, status: 0 });
      if (command === 'writ audit sinks') {
        expect(stdout).toMatch(/^NAME +TYPE +FORMAT +STATE +LAG +LAST-DELIVERY +REJECTED +LAST-ERROR/);
        expect(stdout).toMatch(
          /siem +webhook +ocsf +failing +2 batches, 61s +- +1 +unavailable: The receiver answered 503\./,
        );
      }
    }
    expect((await cli.run('audit', 'sinks', '-o', 'wide')).stdout).toContain('at-least-once');
  });
});
