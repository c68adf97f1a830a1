import { describe, expect, it } from 'vitest';
import { bundleFor, trustOf, verifyPeerIn } from '../../../src/core/identity/trust.ts';
import { expectAppError } from '../../support/errors.ts';
import { createTestAuthority } from '../../support/pki.ts';

const now = Date.now();
const ours = createTestAuthority({ trustDomain: 'example.org' });
const partner = createTestAuthority({ trustDomain: 'partner.example' });
const trust = trustOf(ours.bundle, [partner.bundle]);

describe('verification with several bundles', () => {
  it('spiffe 42: the bundle is that of the trust domain in the leaf', () => {
    const own = ours.issue('spiffe://example.org/ns/shop/sa/web');
    const foreign = partner.issue('spiffe://partner.example/ns/x/sa/y');
    expect(verifyPeerIn(own.chain, trust, { now }).id.uri).toBe('spiffe://example.org/ns/shop/sa/web');
    expect(verifyPeerIn(foreign.chain, trust, { now }).id.uri).toBe('spiffe://partner.example/ns/x/sa/y');
  });

  it('spiffe 48: a federated authority cannot vouch for an identity of ours, nor ours for one of theirs', async () => {
    // An authority that claims our name below its own root: what a hostile partner can make.
    const forged = createTestAuthority({ trustDomain: 'example.org' });
    const hostile = trustOf(ours.bundle, [{ ...forged.bundle, trustDomain: 'partner.example' }]);
    const { chain } = forged.issue('spiffe://example.org/ns/shop/sa/web');
    await expectAppError(
      () => verifyPeerIn(chain, hostile, { now }),
      'peer-refused',
      /does not lead to a root of example.org/,
    );
    const swapped = trustOf(ours.bundle, [{ ...ours.bundle, trustDomain: 'other.example' }]);
    const theirs = partner.issue('spiffe://partner.example/ns/x/sa/y');
    await expectAppError(() => verifyPeerIn(theirs.chain, swapped, { now }), 'peer-refused', /not trusted here/);
  });

  it("spiffe 48: one partner's authority cannot vouch for identities of another partner", async () => {
    const third = createTestAuthority({ trustDomain: 'third.example' });
    const forged = createTestAuthority({ trustDomain: 'third.example' });
    const both = trustOf(ours.bundle, [{ ...forged.bundle, trustDomain: 'partner.example' }, third.bundle]);
    const { chain } = forged.issue('spiffe://third.example/ns/x/sa/y');
    await expectAppError(
      () => verifyPeerIn(chain, both, { now }),
      'peer-refused',
      /does not lead to a root of third.example/,
    );
  });

  it('a bundle of our own trust domain among the federated ones is left out', async () => {
    const forged = createTestAuthority({ trustDomain: 'example.org' });
    const injected = trustOf(ours.bundle, [forged.bundle]);
    expect(bundleFor(injected, 'example.org')).toBe(ours.bundle);
    expect(injected.federated.size).toBe(0);
    const { chain } = forged.issue('spiffe://example.org/ns/shop/sa/web');
    await expectAppError(() => verifyPeerIn(chain, injected, { now }), 'peer-refused');
  });

  it('a leaf with the intermediates of somebody else is refused', async () => {
    const foreign = partner.issue('spiffe://partner.example/ns/x/sa/y');
    const own = ours.issue('spiffe://example.org/ns/shop/sa/web');
    const mixed = [...own.chain.slice(0, 1), ...foreign.chain.slice(1)];
    await expectAppError(() => verifyPeerIn(mixed, trust, { now }), 'peer-refused');
    await expectAppError(
      () => verifyPeerIn(own.chain.slice(0, 1), trust, { now }),
      'peer-refused',
      /does not lead to a root/,
    );
    await expectAppError(() => verifyPeerIn([...own.chain, ...foreign.chain.slice(1)], trust, { now }), 'peer-refused');
  });

  it('spiffe 45: a trust domain whose keys are all revoked is not trusted', async () => {
    const revoked = trustOf(ours.bundle, [{ ...partner.bundle, roots: [], jwks: { keys: [] } }]);
    const { chain } = partner.issue('spiffe://partner.example/ns/x/sa/y');
    await expectAppError(
      () => verifyPeerIn(chain, revoked, { now }),
      'peer-refused',
      /does not lead to a root of partner/,
    );
  });

  it('no certificate, and one that is no SVID, are refused', async () => {
    await expectAppError(() => verifyPeerIn([], trust, { now }), 'peer-refused', /There is none/);
    await expectAppError(() => verifyPeerIn([...partner.bundle.roots], trust, { now }), 'peer-refused', /authorit/);
    await expectAppError(() => verifyPeerIn([Buffer.from('x')], trust, { now }), 'peer-refused');
  });
});
