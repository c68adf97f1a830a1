import { describe, expect, it, onTestFinished } from 'vitest';
import { WatchSource } from '../../../src/base/watch.ts';
import type { TrustBundle } from '../../../src/core/identity/bundle.ts';
import { fingerprint } from '../../../src/core/identity/bundle.ts';
import { ControlPlane } from '../../../src/node/sidecar/control-plane.ts';
import { FakeClock } from '../../support/clock.ts';
import { createTestAuthority } from '../../support/pki.ts';

const WEB = 'spiffe://example.org/ns/shop/sa/web';

/** The connection of one node, which is never made, and how often it would be made anew. */
function started(lot = 0x80) {
  const clock = new FakeClock();
  const [old, next] = [createTestAuthority(), createTestAuthority()];
  const identity = new WatchSource(old.issue(WEB));
  const bundle = new WatchSource<TrustBundle>(old.bundle);
  const controlPlane = new ControlPlane({
    server: '127.0.0.1:1',
    identity,
    bundle,
    clock,
    random: (length) => Buffer.alloc(length, lot),
  });
  onTestFinished(() => controlPlane.close());
  const both: TrustBundle = { ...old.bundle, roots: [...old.bundle.roots, ...next.bundle.roots] };
  return { clock, old, next, identity, bundle, both, controlPlane, made: () => controlPlane.clients.version };
}

describe('the connection to the control plane', () => {
  it('is made anew for a root that was added, within half a minute, at a moment of its own', async () => {
    for (const lot of [0x00, 0x40, 0xff]) {
      const { clock, bundle, both, made } = started(lot);
      bundle.set(both);
      expect(made()).toBe(0);
      await clock.advance((30_000 * lot) / 256 - 1);
      expect(made()).toBe(0);
      await clock.advance(30_000 / 256 + 2);
      expect(made()).toBe(1);
      await clock.advance(60_000);
      expect(made()).toBe(1);
    }
  });

  it('is made anew at once when a tainted root has left, and with a new certificate', () => {
    const { bundle, both, next, identity, old, made } = started();
    identity.set(old.issue(WEB));
    expect(made()).toBe(1);
    bundle.set({ ...both, tainted: old.bundle.roots.map(fingerprint) });
    bundle.set(next.bundle);
    expect(made()).toBe(2);
  });

  it('is made anew for a root that was retired, within half a minute, at a moment of its own', async () => {
    const { clock, bundle, both, next, made } = started(0x80);
    bundle.set(both);
    await clock.advance(60_000);
    expect(made()).toBe(1);
    bundle.set(next.bundle);
    await clock.advance(14_000);
    expect(made()).toBe(1);
    await clock.advance(2_000);
    expect(made()).toBe(2);
  });

  it('stays when roots are as they were: a token key came, or a root was tainted', async () => {
    const { clock, bundle, old, made } = started();
    bundle.set({ ...old.bundle, jwks: { keys: [] }, tainted: ['ab'] });
    await clock.advance(60_000);
    expect(made()).toBe(0);
  });

  it('moves once when a certificate comes before its moment has come', async () => {
    const { clock, bundle, both, identity, old, made } = started();
    bundle.set(both);
    identity.set(old.issue(WEB));
    expect(made()).toBe(1);
    await clock.advance(60_000);
    expect(made()).toBe(1);
  });

  it('does not move any more once it is closed', async () => {
    const { clock, bundle, both, controlPlane, made } = started();
    bundle.set(both);
    controlPlane.close();
    await clock.advance(60_000);
    expect(made()).toBe(0);
    expect(clock.pendingTimers).toBe(0);
  });
});
