import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { AppError } from '../../../../src/base/errors.ts';
import { DockerAttestor, readContainer } from '../../../../src/node/agent/attest-workload/docker.ts';
import { expectAppError } from '../../../support/errors.ts';
import { tempDirectory } from '../../../support/temp.ts';
import { everything, processIn } from './proc.ts';

const ID = '9f86d081'.repeat(8);

/** What Docker 27 answers to `GET /containers/<id>/json`, less what has nothing to do with it. */
const recorded = {
  Id: ID,
  Created: '2026-01-01T00:00:00.000000000Z',
  Path: 'nginx',
  State: { Status: 'running', Running: true, Pid: 4711, ExitCode: 0 },
  Image: 'sha256:0d8f1b1ac4fcdd3b2d7e2d5b8f7e6e9a3b1c2d3e4f5061728394a5b6c7d8e9f0',
  Name: '/web',
  RestartCount: 0,
  HostConfig: { NetworkMode: 'bridge', CgroupnsMode: 'private' },
  Config: {
    Hostname: '9f86d0819f86',
    User: '',
    Env: ['PATH=/usr/local/sbin:/usr/local/bin', 'DB_PASSWORD=hunter2', 'MODE=production'],
    Cmd: ['nginx', '-g', 'daemon off;'],
    Image: 'registry.example.org/web:1.27',
    Labels: { 'com.example.team': 'shop', tier: 'front', odd: 'a:b', empty: '', evil: 'x\u0000y' },
  },
};

async function daemon(answer: (request: IncomingMessage, response: ServerResponse) => void) {
  const socketPath = join(await tempDirectory(), 'docker.sock');
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { asked, attestor: new DockerAttestor({ socketPath, timeoutMs: 300 }) };
}

const json = (body: unknown) => (_: IncomingMessage, response: ServerResponse) =>
  void response.end(JSON.stringify(body));
const inContainer = processIn(`0::/system.slice/docker-${ID}.scope\n`);

describe('the docker attestor', () => {
  it('finds container, labels and image', async () => {
    const { attestor, asked } = await daemon(json(recorded));
    const none = { ...everything, wants: () => false };
    expect(await attestor.attest(inContainer, none)).toEqual([
      `docker:container_id:${ID}`,
      'docker:label:com.example.team:shop',
      'docker:label:tier:front',
      'docker:label:odd:a:b',
      'docker:label:empty:',
      'docker:image_id:registry.example.org/web:1.27',
      `docker:image_config_digest:${recorded.Image}`,
    ]);
    expect(asked).toEqual([`GET /containers/${ID}/json`]);
  });

  it('shows of the environment only what an entry asks for by its value', async () => {
    const { attestor } = await daemon(json(recorded));
    const wants = (prefix: string) => 'docker:env:MODE=production'.startsWith(prefix);
    const selectors = await attestor.attest(inContainer, { ...everything, wants });
    expect(selectors).toContain('docker:env:MODE=production');
    expect(selectors.join()).not.toContain('hunter2');
  });

  it('asks once for a container', async () => {
    const { attestor, asked } = await daemon(json(recorded));
    for (let i = 0; i < 3; i++) await attestor.attest(inContainer, everything);
    expect(asked).toHaveLength(1);
  });

  it('has nothing to say of a process in no container, or in another runtime’s', async () => {
    const { attestor, asked } = await daemon(
      (_, response) => void response.writeHead(404).end('{"message":"No such container"}'),
    );
    expect(await attestor.attest(processIn('0::/system.slice/a.service\n'), everything)).toEqual([]);
    expect(asked).toEqual([]);
    expect(await attestor.attest(inContainer, everything)).toEqual([]);
  });

  it.each([
    [
      'another container',
      json({ ...recorded, Id: 'f'.repeat(64) }),
      'The Docker daemon answered about another container.',
    ],
    [
      'an error',
      (_: IncomingMessage, response: ServerResponse) => void response.writeHead(500).end('{}'),
      'The Docker daemon answered with status 500.',
    ],
    [
      'no JSON',
      (_: IncomingMessage, response: ServerResponse) => void response.end('<html>'),
      'The Docker daemon answered with something that is no JSON.',
    ],
    [
      'too much',
      (_: IncomingMessage, response: ServerResponse) => void response.end(Buffer.alloc(5 * 1024 * 1024)),
      'The Docker daemon answered with more than 4194304 bytes.',
    ],
    ['nothing', () => undefined, 'The Docker daemon did not answer within 0.3 s.'],
  ])('a daemon that answers %s is unavailable', async (_, answer, message) => {
    const { attestor } = await daemon(answer);
    await expectAppError(attestor.attest(inContainer, everything), 'unavailable', message);
  });

  it('a daemon that answers by switching to another protocol is unavailable', async () => {
    const { attestor } = await daemon((_, response) => {
      response.socket?.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n');
    });
    await expectAppError(attestor.attest(inContainer, everything), 'unavailable', /gave no answer/);
  });

  it('a daemon that is not there is unavailable', async () => {
    const attestor = new DockerAttestor({ socketPath: join(await tempDirectory(), 'none.sock') });
    await expectAppError(
      attestor.attest(inContainer, everything),
      'unavailable',
      'The Docker daemon cannot be reached (ENOENT).',
    );
  });

  it('fuzz: any JSON is understood or refused, and gives only texts', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), fc.jsonValue(), (config, labels, env) => {
        for (const body of [
          config,
          { Id: ID, Config: config, Image: labels },
          { Id: ID, Config: { Labels: labels, Env: env, Image: config } },
        ]) {
          try {
            const { selectors, environment } = readContainer(body, ID);
            for (const each of [...selectors, ...environment]) if (/\p{Cc}/u.test(each)) throw new Error(each);
          } catch (error) {
            if (!(error instanceof AppError)) throw error;
          }
        }
      }),
      { numRuns: 300 },
    );
  });
});
