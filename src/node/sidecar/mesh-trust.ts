import type { Watch } from '../../base/watch.ts';
import { WatchSource } from '../../base/watch.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import type { Trust } from '../../core/identity/trust.ts';
import { trustOf } from '../../core/identity/trust.ts';
import type { PolicyState } from './policy-state.ts';

/**
 * What peers are verified with: the bundle of the own trust domain, wherever it came from last, and those of others as the
 * policy in force has them. Changes only when one of them does.
 */
export function meshTrust(
  own: Watch<TrustBundle>,
  policy: Watch<PolicyState | undefined>,
): { readonly trust: Watch<Trust>; readonly stop: () => void } {
  let federated = policy.current?.federated ?? none;
  const trust = new WatchSource(trustOf(own.current, federated));
  const stops = [
    own.subscribe((bundle) => trust.set(trustOf(bundle, federated))),
    policy.subscribe((state) => {
      const next = state?.federated ?? none;
      if (next === federated) return;
      federated = next;
      trust.set(trustOf(own.current, federated));
    }),
  ];
  return {
    trust,
    stop: () => {
      for (const stop of stops) stop();
    },
  };
}

const none: readonly TrustBundle[] = Object.freeze([]);
