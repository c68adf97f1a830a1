import { unreachable } from '../../base/errors.ts';
import type { Policy, Target, Workload } from './model.ts';

/** Labels by which the workloads of a gateway, and of a class of gateways, are known (Gateway API, GEP-1762). */
const GATEWAY_LABEL = 'gateway.networking.k8s.io/gateway-name';
const GATEWAY_CLASS_LABEL = 'gateway.networking.k8s.io/gateway-class-name';

/**
 * Whether a policy applies to a workload: it lies in the workload's namespace or in the root namespace, and the workload
 * carries every label of its selector (reference: rule 28) or is one of its targets (rule 29).
 *
 * A target is in the namespace of the policy, even when that is the root namespace; only a GatewayClass, which has no
 * namespace and is named from the root namespace alone, reaches into all of them.
 */
export function selects(
  policy: Pick<Policy, 'namespace' | 'selector' | 'targets'>,
  workload: Workload,
  rootNamespace: string,
): boolean {
  const { targets } = policy;
  if (targets !== undefined) return targets.some((target) => isTarget(target, policy, workload, rootNamespace));
  if (policy.namespace !== workload.namespace && policy.namespace !== rootNamespace) return false;
  return Object.entries(policy.selector).every(([key, value]) => workload.labels[key] === value);
}

function isTarget(
  { kind, name }: Target,
  { namespace }: Pick<Policy, 'namespace'>,
  workload: Workload,
  rootNamespace: string,
): boolean {
  switch (kind) {
    case 'Service':
      return namespace === workload.namespace && workload.service === name;
    case 'Gateway':
      return namespace === workload.namespace && workload.labels[GATEWAY_LABEL] === name;
    case 'GatewayClass':
      return namespace === rootNamespace && workload.labels[GATEWAY_CLASS_LABEL] === name;
    case 'ServiceEntry':
      // Stands for what is outside of the mesh, where no sidecar is.
      return false;
    default:
      return unreachable(kind);
  }
}
