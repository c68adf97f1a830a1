import { describe, expect, it } from 'vitest';
import type { InboundEndpoint, ProxyHello } from '../../../src/control/registry/hello.ts';
import { checkHello } from '../../../src/control/registry/hello.ts';
import { expectAppError } from '../../support/errors.ts';

const good: InboundEndpoint = { address: 'host:1', protocol: 'http', applicationPort: 8080 };

function check(change: Partial<ProxyHello>): () => void {
  return () =>
    checkHello({ instanceId: 'a', spiffeId: 'spiffe://example.org/x', version: '1', inbound: [good], ...change });
}

describe('What a sidecar says of itself', () => {
  it.each([
    '10.0.0.1:1',
    'host:65535',
    'web-0.shop.example.org:15006',
    '[fd00::1]:15006',
    '[::1]:1',
    '127.0.0.1:15006',
  ])('may be that it is reached at %s', (address) => {
    expect(check({ inbound: [{ ...good, address }] })).not.toThrow();
  });

  it.each([
    '',
    'nowhere',
    ':1',
    'host:',
    'host:0',
    'host:01',
    'host:65536',
    'host:1 ',
    'a b:1',
    'a/b:1',
    'u@h:1',
    '-a:1',
    '::1:1',
    '[zz]:1',
    `${'a'.repeat(300)}:1`,
  ])('is refused when it is reached at %j', async (address) => {
    await expectAppError(
      check({ inbound: [good, { ...good, address }] }),
      'invalid',
      'inbound[1].address must read host:port, the port from 1 to 65535.',
    );
  });

  it.each(['0.0.0.0:15006', '[::]:15006', '[0:0:0:0:0:0:0:0]:15006'])(
    'is refused when it is reached at %s, which is everywhere and nowhere',
    async (address) => {
      await expectAppError(check({ inbound: [{ ...good, address }] }), 'invalid', /Configure the address to advertise/);
    },
  );

  it.each([0, -1, 65_536, 1.5, Number.NaN])('is refused for the application port %d', async (applicationPort) => {
    await expectAppError(
      check({ inbound: [{ ...good, applicationPort }] }),
      'invalid',
      'inbound[0].applicationPort must be from 1 to 65535.',
    );
  });

  it('has limits', async () => {
    for (const version of ['x'.repeat(129), '\0', 'ü', '1\n2']) {
      await expectAppError(check({ version }), 'invalid', /^version must have at most 128 characters/);
    }
    const many = Array.from({ length: 33 }, () => good);
    await expectAppError(check({ inbound: many }), 'invalid', 'inbound must have at most 32 endpoints.');
  });
});
