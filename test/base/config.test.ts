import { describe, expect, it } from 'vitest';
import type { Sources } from '../../src/base/config.ts';
import { configReference, optional, readConfig, required, withDefault } from '../../src/base/config.ts';
import { address, choice, duration, flag, integer, list, record, text } from '../../src/base/config-types.ts';
import { AppError } from '../../src/base/errors.ts';
import { expectAppError } from '../support/errors.ts';

const schema = {
  trustDomain: required(text({ pattern: /^[a-z.]+$/, hint: 'lower-case letters and dots' }), 'The trust domain'),
  'rest.listen': withDefault(address(), '127.0.0.1:8443', 'Where REST listens'),
  'rest.open': withDefault(flag, 'false', 'Open'),
  'store.kind': withDefault(choice(['sqlite', 'postgres']), 'sqlite', 'The store'),
  maxStreams: withDefault(integer({ min: 1, max: 100 }), '10', 'Streams'),
  lifetime: withDefault(duration({ min: '1m', max: '24h' }), '1h', 'Lifetime'),
  audiences: withDefault(list(text(), { max: 3 }), '', 'Audiences'),
  inbound: withDefault(
    list(
      record({
        listen: { type: address(), required: true },
        protocol: { type: choice(['http', 'tcp']), required: false },
      }),
      { max: 4 },
    ),
    '',
    'Inbound',
  ),
  stateDir: optional(text(), 'State'),
} as const;

function read(sources: Partial<Sources>) {
  return readConfig(schema, { flags: {}, env: {}, ...sources });
}

function file(text: string): Partial<Sources> {
  return { file: { name: 'writ.yaml', text } };
}

async function findings(sources: Partial<Sources>): Promise<string[]> {
  try {
    read(sources);
  } catch (error) {
    if (error instanceof AppError) {
      return error.details.map(
        (finding) =>
          `${finding.file === undefined ? '' : `${finding.file}:${finding.line}:${finding.column}: `}${finding.message}`,
      );
    }
    throw error;
  }
  return [];
}

describe('sources', () => {
  it('gives defaults, read by the same type as what a user writes', () => {
    expect(read({ flags: { 'trust-domain': 'example.org' } })).toEqual({
      trustDomain: 'example.org',
      'rest.listen': { host: '127.0.0.1', port: 8443 },
      'rest.open': false,
      'store.kind': 'sqlite',
      maxStreams: 10,
      lifetime: 3600,
      audiences: [],
      inbound: [],
    });
  });

  it('lets a flag win over a variable, and a variable over the file', () => {
    const yaml = file('trustDomain: file.org\nmaxStreams: 1\nlifetime: 2m\n');
    const values = read({
      ...yaml,
      env: { WRIT_MAX_STREAMS: '2', WRIT_LIFETIME: '3m' },
      flags: { lifetime: '4m' },
    });
    expect([values.trustDomain, values.maxStreams, values.lifetime]).toEqual(['file.org', 2, 240]);
  });

  it('counts an empty variable as not set', () => {
    expect(read({ env: { WRIT_TRUST_DOMAIN: 'a', WRIT_MAX_STREAMS: '' } }).maxStreams).toBe(10);
  });

  it('reads lists and records from a repeated flag, from a variable and from the file alike', () => {
    const wanted = [{ listen: { host: '127.0.0.1', port: 1 }, protocol: 'tcp' }, { listen: { host: '::1', port: 2 } }];
    const domain = { 'trust-domain': 'a' };
    const fromFlags = read({ flags: { ...domain, inbound: ['listen=127.0.0.1:1,protocol=tcp', 'listen=[::1]:2'] } });
    const fromFile = read({
      flags: domain,
      ...file('inbound:\n  - listen: 127.0.0.1:1\n    protocol: tcp\n  - { listen: "[::1]:2" }\n'),
    });
    expect(fromFlags.inbound).toEqual(wanted);
    expect(fromFile.inbound).toEqual(wanted);
    expect(read({ flags: domain, env: { WRIT_INBOUND: 'listen=127.0.0.1:1,protocol=tcp' } }).inbound).toEqual([
      wanted[0],
    ]);
    expect(read({ flags: domain, env: { WRIT_AUDIENCES: 'a,b' } }).audiences).toEqual(['a', 'b']);
  });

  it('takes the bare flag as true', () => {
    expect(read({ flags: { 'trust-domain': 'a', 'rest-open': true } })['rest.open']).toBe(true);
  });

  it('ignores what Kubernetes puts into the environment for a Service named writ', () => {
    const env = {
      WRIT_TRUST_DOMAIN: 'a',
      WRIT_SERVICE_HOST: '10.0.0.1',
      WRIT_PORT: 'tcp://x',
      WRIT_PORT_8443_TCP_ADDR: 'x',
    };
    expect(read({ env }).trustDomain).toBe('a');
  });

  it('freezes what it returns', () => {
    expect(Object.isFrozen(read({ env: { WRIT_TRUST_DOMAIN: 'a' } }))).toBe(true);
  });
});

describe('problems', () => {
  it('are told all at once, with line and column in the file and the name elsewhere', async () => {
    const yaml = [
      'trustDomain: Example',
      'rest:',
      '  listen: here',
      '  opne: true',
      'store: sqlite',
      'lifetim: 1h',
      'inbound:',
      '  - listen: 127.0.0.1:1',
      '    protocl: tcp',
      '  - protocol: udp',
    ].join('\n');
    expect(
      await findings({
        ...file(yaml),
        env: { WRIT_MAX_STREAM: '5', WRIT_MAX_STREAMS: '101' },
        flags: { lifetime: '1s' },
      }),
    ).toEqual([
      'writ.yaml:4:3: rest.opne is unknown. Did you mean rest.open?',
      'writ.yaml:5:8: store must be a map with store.kind.',
      'writ.yaml:6:1: lifetim is unknown. Did you mean lifetime?',
      'WRIT_MAX_STREAM is unknown. Did you mean WRIT_MAX_STREAMS?',
      'writ.yaml:1:14: trustDomain cannot be "Example": lower-case letters and dots.',
      'writ.yaml:3:11: rest.listen must be host:port, such as 127.0.0.1:8443 or [::1]:8443, not "here".',
      'WRIT_MAX_STREAMS must be a whole number from 1 to 100, not "101".',
      '--lifetime must be from 1m to 24h, not "1s".',
      'writ.yaml:9:14: inbound[0] has an unknown field "protocl". Did you mean protocol?',
      'writ.yaml:10:15: inbound[1].protocol must be http or tcp, not "udp".',
      'writ.yaml:10:5: inbound[1] needs listen.',
    ]);
  });

  it('in a flag name the part of a record that is wrong', async () => {
    expect(await findings({ flags: { 'trust-domain': 'a', inbound: ['listen=x,protocol=http', 'nonsense'] } })).toEqual(
      [
        '--inbound: [0].listen must be host:port, such as 127.0.0.1:8443 or [::1]:8443, not "x".',
        '--inbound: [1] must be written name=value,name=value; "nonsense" has no "=".',
      ],
    );
  });

  it('are invalid-document when all are in the file, else usage', async () => {
    await expectAppError(() => read(file('trustDomain: A')), 'invalid-document', /one problem/);
    await expectAppError(() => read({ flags: { nope: 'x' } }), 'usage', /2 problems/);
  });

  it('include a required setting that is nowhere', async () => {
    expect(await findings({})).toEqual([
      '--trust-domain is missing. Give it as a flag, as WRIT_TRUST_DOMAIN or as trustDomain in the file.',
    ]);
  });

  it.each([
    ['a: [1', 'writ.yaml:1:6: The file is not valid YAML'],
    ['trustDomain: a\ntrustDomain: b', 'writ.yaml:2:1: The file is not valid YAML: Map keys must be unique'],
    ['- a', 'writ.yaml:1:1: The file must be a map of settings'],
    ['trustDomain: a\n---\ntrustDomain: b', 'writ.yaml:2:1: A second document is not expected'],
    ['trustDomain: &x a\nstateDir: *x', 'writ.yaml:2:11: An alias is not supported'],
    ['trustDomain: 12', 'writ.yaml:1:14: trustDomain must be text, not 12. Put it in quotes.'],
    ['trustDomain: a\nmaxStreams: 1.5', 'writ.yaml:2:13: maxStreams must be a whole number'],
    ['trustDomain: a\nmaxStreams: "5"\n', 'writ.yaml:2:13: maxStreams must be a whole number'],
    ['trustDomain:', 'writ.yaml:1:13: trustDomain must be text, not nothing.'],
    ['trustDomain: a\naudiences: [a, b, c, d]', 'writ.yaml:2:12: audiences has 4 items; at most 3'],
    ['trustDomain: a\n__proto__: { x: 1 }', 'writ.yaml:2:1: __proto__ is unknown.'],
    [`# ${'x'.repeat(1024 * 1024)}`, 'writ.yaml:1:1: The file is larger than'],
  ])('in the file, case %#', async (yaml, message) => {
    const found = await findings(file(yaml));
    expect(found[0]).toContain(message);
  });

  it('of rules over several settings are told with the others', async () => {
    const sources = { ...file('trustDomain: a\nstateDir: x\nmaxStreams: 0'), flags: {}, env: {} };
    const error = await expectAppError(
      () =>
        readConfig(schema, sources as Sources, {
          rules: [(values, report) => values.stateDir === 'x' && report('stateDir', 'cannot be x here.')],
        }),
      'invalid-document',
    );
    expect(error.details.map((d) => [d.line, d.column])).toEqual([
      [3, 13],
      [2, 11],
    ]);
  });
});

describe('reference', () => {
  it('says for every setting how it is written, what it means, its limit and its default', () => {
    const rows = configReference(schema);
    expect(rows.map((row) => row.name)).toEqual(Object.keys(schema));
    expect(rows.find((row) => row.name === 'lifetime')).toEqual({
      name: 'lifetime',
      flag: '--lifetime',
      variable: 'WRIT_LIFETIME',
      usage: '--lifetime <duration>',
      repeatable: false,
      description: 'Lifetime (1m to 24h; default 1h)',
    });
    expect(rows.find((row) => row.name === 'inbound')?.usage).toBe('--inbound <listen=host:port,[protocol=http|tcp]>');
  });
});
