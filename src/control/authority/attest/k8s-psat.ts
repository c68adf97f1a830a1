import type { JWTPayload } from 'jose';
import type { Clock } from '../../../base/clock.ts';
import { AppError } from '../../../base/errors.ts';
import type { Attestation, Attested, Attestor } from './method.ts';
import type { TokenIssuer } from './token.ts';
import { claimedIssuer, verifyToken } from './token.ts';

/** A Kubernetes cluster whose service-account tokens are believed. */
export interface Cluster extends TokenIssuer {
  /** Part of selectors and of the SPIFFE IDs of its agents. */
  readonly name: string;
  /** `namespace/serviceaccount` of those that may attest as agents. */
  readonly agents: readonly string[];
}

/** What the cluster says about the pod that a token is bound to. */
interface Pod {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly name: string;
  readonly uid: string;
  /** Absent in clusters before 1.30. */
  readonly node: { readonly name: string; readonly uid: string } | undefined;
}

/** RFC 1123, as Kubernetes names objects; and a UID. */
const namePattern = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;
const uidPattern = /^[A-Za-z0-9][A-Za-z0-9-]{0,127}$/;

/**
 * A projected service-account token of Kubernetes (attestation method `k8s_psat`), verified with the keys of the cluster, without
 * asking it anything. The payload is the token, UTF-8.
 *
 * Only tokens that are bound to a pod: others live for ever and do not say where they are. That the pod has ended meanwhile is
 * not seen here; the token expires within the hour that the kubelet asks for.
 */
export class K8sPsatAttestor implements Attestor {
  readonly method = 'k8s_psat';
  readonly #clusters: readonly Cluster[];
  readonly #clock: Pick<Clock, 'now'>;

  constructor(options: { readonly clusters: readonly Cluster[]; readonly clock: Pick<Clock, 'now'> }) {
    this.#clusters = options.clusters;
    this.#clock = options.clock;
  }

  /** Throws `invalid`, `forbidden`, `unavailable`. */
  async attest({ payload, agent }: Attestation): Promise<Attested> {
    const token = payload.toString('utf8');
    const issuer = claimedIssuer(token);
    // Clusters that somebody set up carelessly have one issuer name: then the keys tell them apart.
    const candidates = this.#clusters.filter((cluster) => cluster.issuer === issuer);
    if (candidates.length === 0)
      throw new AppError('forbidden', 'The issuer of the token is not a cluster that is trusted here.');
    let refusal: unknown;
    for (const cluster of candidates) {
      try {
        const pod = readPod(await verifyToken(token, cluster, this.#clock.now()));
        return agent ? attestedAgent(cluster, pod) : attestedWorkload(cluster, pod);
      } catch (error) {
        refusal = error;
      }
    }
    throw refusal;
  }
}

function attestedAgent(cluster: Cluster, pod: Pod): Attested {
  const account = `${pod.namespace}/${pod.serviceAccount}`;
  if (!cluster.agents.includes(account)) {
    throw new AppError(
      'forbidden',
      `The service account ${account} is not one of those that may be agents of ${cluster.name}.`,
    );
  }
  const selectors = [
    `k8s_psat:cluster:${cluster.name}`,
    `k8s_psat:agent_ns:${pod.namespace}`,
    `k8s_psat:agent_sa:${pod.serviceAccount}`,
    `k8s_psat:agent_pod_name:${pod.name}`,
    `k8s_psat:agent_pod_uid:${pod.uid}`,
  ];
  // Where the cluster does not say which node it is, each pod is an agent of its own.
  if (pod.node === undefined) {
    return {
      subject: `k8s_psat:${cluster.name}:pod:${pod.uid}`,
      agentPath: [cluster.name, pod.uid],
      selectors,
      canReattest: true,
    };
  }
  return {
    subject: `k8s_psat:${cluster.name}:node:${pod.node.uid}`,
    agentPath: [cluster.name, pod.node.uid],
    selectors: [...selectors, `k8s_psat:agent_node_name:${pod.node.name}`, `k8s_psat:agent_node_uid:${pod.node.uid}`],
    canReattest: true,
  };
}

/** With the names that an agent's own attestation of pods gives, so that the same templates serve both. */
function attestedWorkload(cluster: Cluster, pod: Pod): Attested {
  return {
    subject: `k8s_psat:${cluster.name}:pod:${pod.uid}`,
    selectors: [
      `k8s_psat:cluster:${cluster.name}`,
      `k8s:ns:${pod.namespace}`,
      `k8s:sa:${pod.serviceAccount}`,
      `k8s:pod-name:${pod.name}`,
      `k8s:pod-uid:${pod.uid}`,
      ...(pod.node === undefined ? [] : [`k8s:node-name:${pod.node.name}`]),
    ],
    canReattest: true,
  };
}

function readPod(claims: JWTPayload): Pod {
  const bound = member(claims, 'kubernetes.io');
  const pod = member(bound, 'pod');
  const account = member(bound, 'serviceaccount');
  const node = member(bound, 'node');
  if (bound === undefined || pod === undefined || account === undefined) {
    throw new AppError(
      'forbidden',
      'The token is not bound to a pod. Mount a projected service-account token; others are not taken.',
    );
  }
  const read: Pod = Object.freeze({
    namespace: text(bound.namespace, namePattern),
    serviceAccount: text(account.name, namePattern),
    name: text(pod.name, namePattern),
    uid: text(pod.uid, uidPattern),
    node: node && { name: text(node.name, namePattern), uid: text(node.uid, uidPattern) },
  });
  if (claims.sub !== `system:serviceaccount:${read.namespace}:${read.serviceAccount}`) {
    throw new AppError('forbidden', 'The subject of the token is not the service account that it is bound to.');
  }
  return read;
}

function member(of: object | undefined, name: string): Record<string, unknown> | undefined {
  if (of === undefined || !Object.hasOwn(of, name)) return undefined;
  const value: unknown = (of as Record<string, unknown>)[name];
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}

function text(value: unknown, pattern: RegExp): string {
  if (typeof value === 'string' && pattern.test(value)) return value;
  throw new AppError('forbidden', 'The token does not name namespace, service account and pod as Kubernetes does.');
}
