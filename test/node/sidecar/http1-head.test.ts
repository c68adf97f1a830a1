import { expect, test } from 'vitest';
import {
  isAuthority,
  isSafeMethod,
  readHttp1Head,
  responseFields,
  trailerFields,
} from '../../../src/node/sidecar/http1-head.ts';

function read(...raw: string[]) {
  return readHttp1Head(['Host', 'a', ...raw], 64);
}

test.each<[string, string[]]>([
  ['both Transfer-Encoding and Content-Length', ['Transfer-Encoding', 'chunked', 'Content-Length', '5']],
  ['both, the other way around', ['Content-Length', '5', 'transfer-encoding', 'chunked']],
  ['two lengths, also when they agree', ['Content-Length', '5', 'Content-Length', '5']],
  ['a length that is not plain digits', ['Content-Length', '0x5']],
  ['a length beyond what is counted exactly', ['Content-Length', '9'.repeat(17)]],
  ['two codings', ['Transfer-Encoding', 'chunked', 'Transfer-Encoding', 'chunked']],
  ['a coding other than chunked', ['Transfer-Encoding', 'identity']],
  ['two hosts', ['host', 'b']],
  ['two authorizations', ['Authorization', 'a', 'authorization', 'b']],
  ['Connection that names framing', ['Connection', 'Content-Length', 'Content-Length', '5']],
])('%s is refused, even if the parser let it through', (_what, raw) => {
  expect(read(...raw)).toMatchObject({ ok: false, host: 'a' });
});

test('a request without a host, or with too many fields, is refused', () => {
  expect(readHttp1Head([], 64)).toMatchObject({ ok: false, host: '' });
  expect(readHttp1Head(Array(130).fill('x'), 64)).toMatchObject({ ok: false, why: 'more than 64 header fields' });
});

test('end-to-end fields keep their order, spelling and repetition', () => {
  const head = read('X-A', '1', 'Connection', 'keep-alive, X-Hop', 'x-hop', '2', 'Set-Cookie', 'a', 'Set-Cookie', 'b');
  expect(head).toMatchObject({
    ok: true,
    fields: ['Host', 'a', 'X-A', '1', 'Set-Cookie', 'a', 'Set-Cookie', 'b'],
    length: 0,
  });
});

test('two traceparents are none', () => {
  expect(read('traceparent', '00-1', 'traceparent', '00-2')).toMatchObject({ ok: true, traceparent: undefined });
});

test('responses lose per-hop fields, and from an application those that only sidecars set', () => {
  const raw = [
    'Content-Length',
    '3',
    'Connection',
    'x',
    'X',
    '1',
    'Keep-Alive',
    'timeout=5',
    'X-Writ-Rule',
    'r',
    'Y',
    '2',
  ];
  expect(responseFields(raw, true)).toEqual({ fields: ['Content-Length', '3', 'Y', '2'], length: 3 });
  expect(responseFields(raw, false).fields).toEqual(['Content-Length', '3', 'X-Writ-Rule', 'r', 'Y', '2']);
});

test('trailers cannot change what the head said', () => {
  const raw = [
    'X-Sum',
    '1',
    'Host',
    'b',
    'Content-Length',
    '9',
    'Transfer-Encoding',
    'x',
    'x-forwarded-client-cert',
    'y',
  ];
  expect(trailerFields(raw)).toEqual([['X-Sum', '1']]);
});

test('authorities and methods are what they seem', () => {
  for (const good of ['a', 'a.b:80', '127.0.0.1:1', '[::1]:80', 'x_y']) expect(isAuthority(good)).toBe(true);
  for (const bad of ['', 'a b', 'u@a', 'a/b', 'a?b', 'a#b', 'a:', 'a:x', '[::1', 'a,b c', 'a\\b'])
    expect(isAuthority(bad)).toBe(false);
  for (const good of ['GET', 'POST', 'M-SEARCH', 'PROPFIND']) expect(isSafeMethod(good)).toBe(true);
  for (const bad of ['get', 'Get', 'CONNECT', '', 'GET ', 'G\0T']) expect(isSafeMethod(bad)).toBe(false);
});
