import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readConfig } from '../../src/base/config.ts';
import { AppError } from '../../src/base/errors.ts';
import { sinksConfig, sinksRules, sinksSchema } from '../../src/main/sinks-config.ts';

function read(sinks: string) {
  const text = `audit:\n  sinks:\n${sinks.replace(/^/gm, '    ')}`;
  return sinksConfig(
    readConfig(sinksSchema, { flags: {}, env: {}, file: { name: 'writ.yaml', text } }, { rules: sinksRules }),
  );
}

function problemsOf(sinks: string): string {
  try {
    read(sinks);
  } catch (error) {
    if (error instanceof AppError)
      return [error.message, ...(error.details ?? []).map(({ message }) => message)].join('\n');
    throw error;
  }
  return '';
}

describe('audit.sinks', () => {
  it('is none when nothing is configured, and holds absolute paths and defaults', () => {
    expect(sinksConfig({ 'audit.sinks': undefined })).toEqual([]);
    expect(read('- {name: a, type: file, path: a.jsonl}')).toEqual([
      expect.objectContaining({ name: 'a', type: 'file', format: 'ocsf', from: 'start', path: resolve('a.jsonl') }),
    ]);
  });

  it.each([
    ['- {name: A, type: file, path: a}', /name/],
    ['- {name: a, type: kafka}', /type/],
    ['- {name: a, type: file}', /needs path for a, a sink of type file/],
    ['- {name: a, type: file, path: a, url: "https://x.org/"}', /has url for a; a sink of type file has none/],
    ['- {name: a, type: file, path: a}\n- {name: a, type: file, path: b}', /names a twice/],
    ['- {name: a, type: file, path: a}\n- {name: b, type: file, path: ./a}', /writes .\/a with two sinks/],
    ['- {name: a, type: webhook, url: "https://x.org/"}', /needs secretFile/],
    ['- {name: a, type: webhook, secretFile: s}', /needs either url or urlFile/],
    ['- {name: a, type: webhook, secretFile: s, url: "https://x.org/", urlFile: u}', /needs either url or urlFile/],
    ['- {name: a, type: webhook, secretFile: s, url: "http://x.org/"}', /only a receiver on this machine/],
    ['- {name: a, type: webhook, secretFile: s, url: "http://localhost.x.org/"}', /only a receiver on this machine/],
    ['- {name: a, type: webhook, secretFile: s, url: "https://me:pw@x.org/"}', /url/],
    ['- {name: a, type: webhook, secretFile: s, url: "https://x.org/?token=1"}', /url/],
    ['- {name: a, type: webhook, secretFile: s, secret: x, url: "https://x.org/"}', /unknown field "?secret"?/],
    ['- {name: a, type: syslog}', /needs address/],
    ['- {name: a, type: syslog, address: "x.org:6514", keyFile: k}', /certificateFile and keyFile together/],
    ['- {name: a, type: otlp, url: "https://x.org/", format: cef}', /has format for a/],
    ['- {name: a, type: splunk, url: "https://x.org/", tokenFile: t, format: cef}', /Splunk is sent JSON/],
    ['- {name: a, type: splunk, url: "https://x.org/"}', /needs tokenFile/],
  ])('%s is refused, with what is wrong', (sinks, why) => {
    expect(problemsOf(sinks)).toMatch(why);
  });

  it('http is for a receiver on this machine', () => {
    for (const url of ['http://127.0.0.1:8088/', 'http://localhost/', 'http://[::1]:1/x', 'https://x.org/'])
      expect(problemsOf(`- {name: a, type: otlp, url: "${url}"}`)).toBe('');
  });
});
