import { X509Certificate } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { WatchSource } from '../../../src/base/watch.ts';
import { Peers } from '../../../src/edge/grpc/peer.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import { createTestAuthority } from '../../support/pki.ts';
import { WEB } from './harness.ts';

const authority = createTestAuthority();

function start() {
  const clock = new FakeClock(Date.now());
  return { clock, peers: new Peers({ bundle: new WatchSource(authority.bundle), clock }) };
}

/** A call whose connection presented this certificate, and TLS found its path good. */
function callWith(der: Buffer | undefined) {
  const certificate = der && { raw: der, fingerprint256: new X509Certificate(der).fingerprint256 };
  return { getAuthContext: () => ({ sslPeerCertificate: certificate }) as never };
}

describe('Peers', () => {
  it('reads the identity from the leaf', () => {
    const { peers } = start();
    const svid = authority.issue(WEB, { instanceId: 'web-1' });
    const [leaf] = svid.chain;
    expect(peers.identify(callWith(leaf))).toEqual({
      id: svid.id,
      instanceId: 'web-1',
      serial: svid.serial,
      notBefore: svid.notBefore,
      notAfter: svid.notAfter,
      certificate: leaf,
    });
  });

  it('refuses a call without a certificate', async () => {
    const { peers } = start();
    await expectAppError(() => peers.identify(callWith(undefined)), 'unauthenticated', /needs a client certificate/);
  });

  it('refuses another trust domain, even if TLS let it through', async () => {
    const { peers } = start();
    const foreign = createTestAuthority({ trustDomain: 'evil.example' }).issue('spiffe://evil.example/ns/shop/sa/web');
    await expectAppError(
      () => peers.identify(callWith(foreign.chain[0])),
      'unauthenticated',
      'The client certificate is of the trust domain evil.example.',
    );
  });

  it('refuses an authority’s certificate', async () => {
    const { peers } = start();
    for (const der of [authority.root.certificate, authority.issuer.certificate]) {
      await expectAppError(() => peers.identify(callWith(der)), 'unauthenticated', /is an authority/);
    }
  });

  it('looks at the lifetime each time, to the last second', async () => {
    const { peers, clock } = start();
    const svid = authority.issue(WEB);
    const call = callWith(svid.chain[0]);
    peers.identify(call);
    await clock.advance(svid.notAfter + 999 - clock.now());
    peers.identify(call);
    await clock.advance(1);
    await expectAppError(
      () => peers.identify(call),
      'unauthenticated',
      'The client certificate has expired. Renew it.',
    );
    const early = authority.issue(WEB, { notBefore: clock.now() + 60_000, notAfter: clock.now() + 120_000 });
    await expectAppError(() => peers.identify(callWith(early.chain[0])), 'unauthenticated', /not valid yet/);
  });

  it('remembers what it has read', () => {
    const { peers } = start();
    const call = callWith(authority.issue(WEB).chain[0]);
    expect(peers.identify(call)).toBe(peers.identify(call));
  });
});
