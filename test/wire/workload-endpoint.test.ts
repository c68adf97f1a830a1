import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../src/base/errors.ts';
import {
  adminSocketBeside,
  grpcTarget,
  parseWorkloadEndpoint,
  workloadEndpointOf,
} from '../../src/wire/workload-endpoint.ts';
import { expectAppError } from '../support/errors.ts';

describe('SPIFFE_ENDPOINT_SOCKET', () => {
  it.each([
    ['unix:///run/writ/agent.sock', { kind: 'unix', path: '/run/writ/agent.sock' }],
    ['unix:/run/writ/agent.sock', { kind: 'unix', path: '/run/writ/agent.sock' }],
    ['unix:///a%20b', { kind: 'unix', path: '/a b' }],
    ['tcp://127.0.0.1:8000', { kind: 'tcp', host: '127.0.0.1', port: 8000 }],
    ['tcp://[::1]:65535', { kind: 'tcp', host: '::1', port: 65_535 }],
  ])('spiffe 28: %s is understood', (uri, endpoint) => {
    expect(parseWorkloadEndpoint(uri)).toEqual(endpoint);
  });

  it.each([
    '',
    'unix:',
    'unix://',
    'unix:///',
    'unix://host/path',
    'unix://user@/path',
    'unix:relative',
    'unix:///path?x',
    'unix:///path#x',
    'unix:///a%00b',
    'unix:///a%zz',
    'unix:////double',
    '/run/agent.sock',
    'tcp://localhost:8000',
    'tcp://127.0.0.1',
    'tcp://127.0.0.1:0',
    'tcp://127.0.0.1:65536',
    'tcp://127.0.0.1:80/',
    'tcp://127.0.0.1:80?x',
    'tcp://u@127.0.0.1:80',
    'tcp://::1:80',
    'tcp://[127.0.0.1]:80',
    'tcp://256.0.0.1:80',
    'http://127.0.0.1:80',
    'UNIX:///path',
    `unix:///${'a'.repeat(5000)}`,
  ])('spiffe 28: %j is refused', async (uri) => {
    await expectAppError(() => parseWorkloadEndpoint(uri), 'usage', /^The address of a Workload API /);
  });

  it('may be a bare path on a command line', async () => {
    expect(workloadEndpointOf('/run/a.sock')).toEqual({ kind: 'unix', path: '/run/a.sock' });
    expect(workloadEndpointOf('tcp://127.0.0.1:1')).toEqual({ kind: 'tcp', host: '127.0.0.1', port: 1 });
    await expectAppError(() => workloadEndpointOf('a.sock'), 'usage');
  });

  it('is what gRPC calls it', () => {
    expect(grpcTarget({ kind: 'unix', path: '/a' })).toBe('unix:///a');
    expect(grpcTarget({ kind: 'tcp', host: '::1', port: 1 })).toBe('ipv6:[::1]:1');
    expect(grpcTarget({ kind: 'tcp', host: '127.0.0.1', port: 1 })).toBe('ipv4:127.0.0.1:1');
    expect(adminSocketBeside('/run/writ/agent.sock')).toBe('/run/writ/agent-admin.sock');
    expect(adminSocketBeside('/run/agent')).toBe('/run/agent-admin.sock');
  });

  it('fuzz: any text is an address or refused', () => {
    const text = fc.oneof(
      fc.string(),
      fc.string().map((rest) => `unix:${rest}`),
      fc.string().map((rest) => `tcp://${rest}`),
      fc.webUrl(),
    );
    fc.assert(
      fc.property(text, (uri) => {
        try {
          const endpoint = parseWorkloadEndpoint(uri);
          if (endpoint.kind === 'unix' && !endpoint.path.startsWith('/')) throw new Error(endpoint.path);
        } catch (error) {
          if (!(error instanceof AppError)) throw error;
        }
      }),
      { numRuns: 500 },
    );
  });
});
