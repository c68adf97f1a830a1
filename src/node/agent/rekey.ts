import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import type { RandomBytes } from '../../base/random.ts';
import { uniform } from '../../base/random.ts';
import type { Watch } from '../../base/watch.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import { hasRoot, rootFingerprintOf } from '../../core/identity/root-of.ts';
import type { Svid } from './svid.ts';

export interface RekeyOptions {
  readonly current: Watch<Svid>;
  readonly bundle: Watch<TrustBundle>;
  /** Gets another certificate, on a new key. */
  readonly replace: () => void;
  readonly clock: Clock;
  readonly random: RandomBytes;
  readonly logger: Logger;
  /** Within this time everybody has another certificate. Default 30 s. */
  readonly spreadMs?: number;
}

const SPREAD_MS = 30_000;
const LONGEST_PAUSE_MS = 3_600_000;

/**
 * Replaces this process's certificate when its root is tainted: soon, but each process at a moment of its own, so that a
 * thousand of them are no burst; the root still verifies meanwhile. When the root has left the bundle, at once, since nobody
 * verifies the certificate any more. That another root signs now is no reason: what is held is as good as before.
 *
 * One that was signed before the taint and arrives after it hangs from the tainted root too, and is replaced again; where the
 * control plane has no other root to sign with, each time after twice as long, up to an hour.
 *
 * Returns what ends it.
 */
export function rekeyWhenTainted(o: RekeyOptions): () => void {
  let cancel: () => void = () => undefined;
  let planned: string | undefined;
  /** How many came one after the other below a tainted root. */
  let inVain = 0;

  const look = () => {
    const { chain, notAfter } = o.current.current;
    const bundle = o.bundle.current;
    const root = rootFingerprintOf(chain, bundle);
    if (root === undefined) return plan('', 0);
    if (!(bundle.tainted?.includes(root) === true && hasRoot(bundle, root))) return unplan();
    const spreadMs = o.spreadMs ?? SPREAD_MS;
    const pauseMs = inVain === 0 ? 0 : Math.min(LONGEST_PAUSE_MS, spreadMs * 2 ** (inVain - 1));
    const leftMs = Math.max(0, notAfter - o.clock.now());
    plan(root, Math.min(pauseMs, leftMs / 2) + Math.min(spreadMs, leftMs / 2) * uniform(o.random));
  };
  const plan = (why: string, ms: number) => {
    // For one reason once: every other change of the bundle would draw lots again.
    if (planned === why) return;
    cancel();
    planned = why;
    o.logger.warn({ inMs: Math.round(ms) }, 'the root of our certificate is not to be relied on; it is replaced');
    cancel = o.clock.after(ms, o.replace);
  };
  const replaced = () => {
    const was = planned;
    unplan();
    inVain = was === undefined ? 0 : inVain + 1;
    look();
    if (planned === undefined) inVain = 0;
  };
  const unplan = () => {
    cancel();
    planned = undefined;
  };
  const unsubscribe = [o.bundle.subscribe(look), o.current.subscribe(replaced)];
  look();
  return () => {
    for (const end of unsubscribe) end();
    cancel();
  };
}
