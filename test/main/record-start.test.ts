import { describe, expect, it } from 'vitest';
import type { AdminFacts } from '../../src/control/ledger/admin-recorder.ts';
import { serverConfig } from '../../src/main/config.ts';
import { recordStart, settingsOf } from '../../src/main/record-start.ts';

const config = () =>
  serverConfig({
    flags: { 'trust-domain': 'example.org', 'data-dir': '/data', 'passphrase-file': '/secrets/pass' },
    env: {},
  });

describe('what a control plane is started with', () => {
  it('is recorded, every setting on a line of its own, with the version', async () => {
    const reported: AdminFacts[] = [];
    await recordStart({ report: async (facts) => void reported.push(facts) }, config(), '1.2.3');
    expect(reported).toEqual([
      expect.objectContaining({ action: 'configuration', outcome: 'done', object: 'writ 1.2.3' }),
    ]);
    const { detail = '', after } = reported[0] ?? {};
    for (const line of [
      'version = "1.2.3"',
      'trustDomain = "example.org"',
      'passphraseFile = "/secrets/pass"',
      'rest.port = 8443',
    ])
      expect(detail).toContain(`\n+${line}\n`);
    expect(after).toMatch(/^[0-9a-f]{64}$/);
  });

  it('is the same text for the same settings, in whichever order', () => {
    expect(settingsOf({ b: { d: 1, c: [2] }, a: 'x', none: undefined })).toBe('a = "x"\nb.c = [2]\nb.d = 1\n');
    expect(settingsOf({ a: 'x', b: { c: [2], d: 1 } })).toBe(settingsOf({ b: { d: 1, c: [2] }, a: 'x' }));
  });
});
