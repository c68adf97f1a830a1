import { execFile } from 'node:child_process';
import type { RequestListener } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import { describe, expect, it, onTestFinished } from 'vitest';
import { Client, RemoteError } from '../../src/cli/client.ts';
import { quote } from '../../src/cli/curl.ts';
import { reportError } from '../../src/cli/report.ts';
import { plainStyle } from '../../src/cli/style.ts';
import { expectAppError } from '../support/errors.ts';
import { itWithTools } from '../support/tools.ts';
import { connect } from './server.ts';

async function clientOf(listener: RequestListener): Promise<Client> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  return new Client({ url, token: 'writ_t', hint: '' }, { fetch });
}

describe('client', () => {
  it('reads problem+json: code, message, findings and request id', async () => {
    const problem = {
      status: 412,
      code: 'precondition-failed',
      detail: 'It is at 4.',
      errors: [{ code: 'x', detail: 'here', line: 2, column: 3, pointer: '/a' }],
      requestId: 'r-1',
    };
    const client = await clientOf((_request, response) => response.writeHead(412).end(JSON.stringify(problem)));
    const error = await expectAppError(client.call({ method: 'GET', path: '/' }), 'precondition-failed', 'It is at 4.');
    expect(error).toBeInstanceOf(RemoteError);
    expect((error as RemoteError).requestId).toBe('r-1');
    expect(error.details).toEqual([{ code: 'x', message: 'here', line: 2, column: 3, pointer: '/a' }]);
  });

  it.each([
    [401, 'unauthenticated'],
    [404, 'not-found'],
    [418, 'invalid'],
    [502, 'unavailable'],
    [503, 'audit-unavailable'],
  ])('a bare %i, as a proxy sends it, is %s', async (status, code) => {
    const client = await clientOf((_request, response) => response.writeHead(status).end('<html>'));
    await expectAppError(
      client.call({ method: 'GET', path: '/' }),
      code as 'invalid',
      new RegExp(`answered ${status}`),
    );
  });

  it.each([
    ['/docs/errors#not-found', true],
    ['http://HOST/docs/errors#not-found', true],
    ['urn:writ:error:not-found', false],
    ['about:blank', false],
    // What answers in the place of the server must not send the user elsewhere.
    ['//elsewhere.example/docs/errors#not-found', false],
    ['http://you@HOST/docs/errors#not-found', false],
    ['/docs/errors#usage', false],
    ['/docs/errors?x#not-found', false],
    ['/elsewhere#not-found', false],
    [7, false],
  ])('a problem of type %j names the page of its code: %s', async (type, named) => {
    const client = await clientOf((request, response) => {
      const reference = typeof type === 'string' ? type.replace('HOST', request.headers.host ?? '') : type;
      response.writeHead(404).end(JSON.stringify({ type: reference, code: 'not-found', detail: 'No.' }));
    });
    const error = await expectAppError(client.call({ method: 'GET', path: '/v1/x' }), 'not-found');
    const page = named ? `${client.target.url.origin}/docs/errors` : 'docs/errors.md';
    expect(reportError(error, plainStyle)).toBe(`error: No.\n  more: ${page}#not-found\n`);
  });

  it('does not follow a redirect: the token would go with it', async () => {
    let calls = 0;
    const client = await clientOf((request, response) => {
      calls += 1;
      response.writeHead(302, { location: `http://${request.headers.host}/elsewhere` }).end();
    });
    await expectAppError(client.call({ method: 'GET', path: '/' }), 'unavailable', /redirect/);
    expect(calls).toBe(1);
  });

  it('gives up on a server that does not answer', async () => {
    const client = await clientOf(() => undefined);
    await expectAppError(client.call({ method: 'GET', path: '/', timeoutMs: 50 }), 'deadline-exceeded', /in time/);
  });

  it('gives up on a server that does not finish its answer', async () => {
    const client = await clientOf((_request, response) => response.writeHead(200).write('{'));
    await expectAppError(client.call({ method: 'GET', path: '/', timeoutMs: 50 }), 'deadline-exceeded', /in time/);
  });
});

describe('--curl', () => {
  itWithTools(['sh', 'curl'], 'prints a command that works in a shell and shows no token', async () => {
    const cli = await connect();
    const { stdout, status } = await cli.run(
      '--curl',
      'entry',
      'create',
      'spiffe://example.org/ns/shop/sa/web',
      '-l',
      "app=it's",
    );
    expect(status).toBe(0);
    expect(stdout).not.toContain(cli.rest.token);
    const { stdout: answer } = await promisify(execFile)('sh', ['-c', stdout]);
    expect(JSON.parse(answer)).toMatchObject({ code: 'invalid-document' });
    const get = await cli.run('--curl', 'get', 'entries');
    const { stdout: list } = await promisify(execFile)('sh', ['-c', get.stdout]);
    expect(JSON.parse(list)).toMatchObject({ items: [] });
  });

  it('quotes whatever a shell would interpret', () => {
    expect(quote('plain-1.2/x')).toBe('plain-1.2/x');
    expect(quote("a'b $(c) `d`")).toBe(`'a'\\''b $(c) \`d\`'`);
    expect(quote('')).toBe("''");
  });
});
