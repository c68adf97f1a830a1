import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import type { AdminTrail } from '../control/ledger/admin-trail.ts';
import { ChangeViews } from '../control/policies/changes/change-views.ts';
import { Changes } from '../control/policies/changes/changes.ts';
import { DirectWrites } from '../control/policies/changes/direct-writes.ts';
import { Protection } from '../control/policies/changes/protection.ts';
import type { RolloutsOptions } from '../control/policies/changes/rollouts.ts';
import { Rollouts } from '../control/policies/changes/rollouts.ts';
import type { StagedPublisher } from '../control/policies/changes/staged-publisher.ts';
import type { Stages } from '../control/policies/changes/stages.ts';
import { PlanReceipts } from '../control/policies/plan-receipts.ts';
import type { PolicyStore } from '../control/policies/store.ts';
import type { Store } from '../control/store/store.ts';
import type { ServerConfig } from './config.ts';

export interface ChangesDeps {
  readonly store: Store;
  readonly policies: PolicyStore;
  readonly stages: Stages;
  readonly publisher: Pick<StagedPublisher, 'concerns'>;
  readonly proxies: RolloutsOptions['proxies'];
  readonly index: RolloutsOptions['audit'];
  readonly trail: Pick<AdminTrail, 'record' | 'report'>;
  /** Labels choose the policies of a workload. */
  readonly entries: {
    bySpiffeId(spiffeId: string): Promise<{ readonly labels: Readonly<Record<string, string>> } | undefined>;
  };
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Everything about changes of policies: who may make them, who agrees, how they come into force. */
export function openChanges(config: Pick<ServerConfig, 'policy' | 'rootNamespace'>, deps: ChangesDeps) {
  const { store, policies, stages, publisher, proxies, index, entries, trail, clock, logger } = deps;
  const namespaces = new Map(Object.entries(config.policy.namespaces));
  const protection = new Protection({ namespaces, rootNamespace: config.rootNamespace });
  const plans = new PlanReceipts({ store, clock });
  const changes = new Changes({ store, policies, protection, plans, clock, logger });
  const rollouts = new Rollouts({
    ...{ store, changes, stages, proxies, trail, clock, logger },
    policies: policies.current,
    audit: index,
    concerns: async (spiffeId) => {
      const entry = await entries.bySpiffeId(spiffeId);
      return entry !== undefined && publisher.concerns(spiffeId, entry.labels);
    },
  });
  return {
    changes,
    changeViews: new ChangeViews({ store, clock }),
    directWrites: new DirectWrites({ policies, protection, plans }),
    rollouts,
  };
}
