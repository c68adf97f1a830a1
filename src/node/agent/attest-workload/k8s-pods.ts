import { AppError } from '../../../base/errors.ts';
import type { ContainerReference } from './container.ts';
import { array, object, text, texts } from './http-json.ts';

/** What the selectors need of a pod in the kubelet's list (Kubernetes API v1 PodList). */
export interface Pod {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  readonly serviceAccount: string;
  readonly nodeName: string;
  readonly labels: readonly (readonly [string, string])[];
  readonly owners: readonly { readonly kind: string; readonly name: string; readonly uid: string }[];
  readonly containers: readonly Container[];
}

export interface Container {
  /** Without the name of the runtime in front. */
  readonly id: string;
  readonly name: string;
  /** As the pod names it, and as it was resolved. */
  readonly images: readonly string[];
}

export interface Pods {
  /** undefined when none has this container; also when the pod that has it is not the one that the cgroup names. */
  find(reference: ContainerReference): { readonly pod: Pod; readonly container: Container } | undefined;
}

/**
 * Reads the kubelet's answer. A pod without what every pod has is passed over: one that is malformed must not take the
 * others down with it.
 *
 * @throws AppError `unavailable` when it is not a list of pods
 */
export function readPods(body: unknown): Pods {
  const { items } = object(body);
  // The kubelet of a node without pods says null.
  if (items !== null && !Array.isArray(items)) {
    throw new AppError('unavailable', 'The kubelet answered with something that is no list of pods.');
  }
  const byContainer = new Map<string, { readonly pod: Pod; readonly container: Container }>();
  for (const pod of array(items).flatMap((item) => readPod(item) ?? [])) {
    for (const container of pod.containers) byContainer.set(container.id, Object.freeze({ pod, container }));
  }
  return {
    find({ containerId, podUid }) {
      const found = byContainer.get(containerId);
      // The kubelet names static pods, whose cgroup has the hash of their file, by another uid than their mirror's.
      if (found === undefined || podUid === undefined || podUid.length === 32 || found.pod.uid === podUid) return found;
      return undefined;
    },
  };
}

export function podSelectors(pod: Pod, container: Container): readonly string[] {
  return [
    `k8s:ns:${pod.namespace}`,
    `k8s:sa:${pod.serviceAccount}`,
    `k8s:pod-name:${pod.name}`,
    `k8s:pod-uid:${pod.uid}`,
    ...(pod.nodeName === '' ? [] : [`k8s:node-name:${pod.nodeName}`]),
    ...pod.labels.map(([key, value]) => `k8s:pod-label:${key}:${value}`),
    ...pod.owners.flatMap(({ kind, name, uid }) => [
      `k8s:pod-owner:${kind}:${name}`,
      `k8s:pod-owner-uid:${kind}:${uid}`,
    ]),
    `k8s:container-name:${container.name}`,
    ...new Set(container.images.map((image) => `k8s:container-image:${image}`)),
  ];
}

function readPod(item: unknown): Pod | undefined {
  const { metadata, spec, status } = object(item);
  const meta = object(metadata);
  const uid = text(meta.uid);
  const namespace = text(meta.namespace);
  const name = text(meta.name);
  if (uid === undefined || namespace === undefined || name === undefined) return undefined;
  const { serviceAccountName, nodeName } = object(spec);
  const states = object(status);
  return Object.freeze({
    uid,
    namespace,
    name,
    // Kubernetes puts it there; a static pod has none.
    serviceAccount: text(serviceAccountName) ?? 'default',
    nodeName: text(nodeName) ?? '',
    labels: texts(meta.labels),
    owners: array(meta.ownerReferences).flatMap(readOwner),
    containers: [states.containerStatuses, states.initContainerStatuses, states.ephemeralContainerStatuses]
      .flatMap(array)
      .flatMap(readContainer),
  });
}

function readOwner(value: unknown): Pod['owners'] {
  const owner = object(value);
  const kind = text(owner.kind);
  const name = text(owner.name);
  const uid = text(owner.uid);
  return kind === undefined || name === undefined || uid === undefined ? [] : [Object.freeze({ kind, name, uid })];
}

function readContainer(value: unknown): readonly Container[] {
  const status = object(value);
  const id = /^[a-z0-9-]+:\/\/([0-9a-f]{64})$/.exec(text(status.containerID) ?? '')?.[1];
  const name = text(status.name);
  if (id === undefined || name === undefined) return [];
  const images = [text(status.image), text(status.imageID)].filter((image) => image !== undefined);
  return [Object.freeze({ id, name, images })];
}
