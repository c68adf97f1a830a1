import { describe, expect, it } from 'vitest';
import type { InboundEndpoint } from '../../../src/control/registry/hello.ts';
import { servicesOf } from '../../../src/control/registry/services.ts';

const at = (...addresses: string[]): InboundEndpoint[] =>
  addresses.map((address) => ({ address, protocol: 'http', applicationPort: 8080 }));

describe('The services', () => {
  it('are one for each identity, with the endpoints of all its instances', () => {
    const services = servicesOf([
      { spiffeId: 'spiffe://example.org/ns/shop/sa/web', inbound: at('b:1', 'a:1') },
      { spiffeId: 'spiffe://example.org/ns/bank/sa/web', inbound: at('c:1') },
      { spiffeId: 'spiffe://example.org/ns/shop/sa/web', inbound: at('a:2') },
    ]);
    expect(
      services.map((each) => [each.namespace, each.name, each.endpoints.map((endpoint) => endpoint.address)]),
    ).toEqual([
      ['bank', 'web', ['c:1']],
      ['shop', 'web', ['a:1', 'a:2', 'b:1']],
    ]);
  });

  it('are the same value in whatever order the sidecars came', () => {
    const serving = ['c', 'a', 'b'].map((name) => ({
      spiffeId: `spiffe://example.org/ns/shop/sa/${name}`,
      inbound: at(`${name}:2`, `${name}:1`),
    }));
    expect(servicesOf(serving.toReversed())).toEqual(servicesOf(serving));
  });

  it('name an address once, also when two instances claim it', () => {
    const instance = { spiffeId: 'spiffe://example.org/ns/shop/sa/web', inbound: at('a:1') };
    expect(servicesOf([instance, instance])[0]?.endpoints).toHaveLength(1);
  });

  it('leave out identities that are no service, and those without endpoints', () => {
    expect(
      servicesOf([
        { spiffeId: 'spiffe://example.org/writ/agent/x', inbound: at('a:1') },
        { spiffeId: 'spiffe://example.org/ns/shop/sa/web', inbound: [] },
      ]),
    ).toEqual([]);
  });
});
