import { AppError } from '../../../base/errors.ts';
import type { Cgroup } from './proc-formats.ts';

/** Which container a process is in, by its cgroup. */
export interface ContainerReference {
  /** 64 lower-case hexadecimal digits. */
  readonly containerId: string;
  /** Of the Kubernetes pod; undefined outside of one. */
  readonly podUid: string | undefined;
}

const container = /^(?:(?:docker|cri-containerd|containerd|nerdctl|crio|libpod)-)?([0-9a-f]{64})(?:\.scope)?$/;
const pod =
  /^(?:kubepods(?:-[a-z]+)?-)?pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?$/;

/**
 * Finds the container in the cgroups of a process, for cgroup v1 and v2, with the names that Docker, containerd, CRI-O and
 * Podman give; undefined for a process in none.
 *
 * The path is trusted from its beginning only as far as a container runtime made it: the outermost container counts, since
 * what is below it is its own choice. Below a service, a scope that is no container, and a container of LXC nothing does:
 * systemd delegates (Delegate=) what is there to whoever runs it, as to a user's own systemd (user@UID.service, rootless
 * containers), and there he can name a cgroup like a container of somebody else.
 *
 * @throws AppError `forbidden` when the hierarchies name different containers
 */
export function containerOf(cgroups: readonly Cgroup[]): ContainerReference | undefined {
  const found = new Map<string, ContainerReference>();
  for (const { path } of cgroups) {
    const reference = inPath(path);
    if (reference !== undefined) found.set(`${reference.containerId} ${reference.podUid ?? ''}`, reference);
  }
  const [first, second] = found.values();
  if (second !== undefined) {
    throw new AppError(
      'forbidden',
      'The cgroups of the process name several containers; it cannot be told which it is in.',
    );
  }
  return first;
}

const delegated = /\.(?:service|scope)$|^lxc(?:\.|$)/;
/** Services that are runtimes themselves: where cgroup drivers do not fit together, their containers are below them. */
const runtimes = /^(?:containerd|docker|crio|k3s|k3s-agent|rke2-server|rke2-agent)\.service$/;

function inPath(path: string): ContainerReference | undefined {
  let podUid: string | undefined;
  for (const part of path.split('/').flatMap(withoutColons)) {
    if (/^user@\d+\.service$/.test(part) || /^user-\d+\.slice$/.test(part)) return undefined;
    podUid ??= pod.exec(part)?.[1]?.replaceAll('_', '-');
    const containerId = container.exec(part)?.[1];
    if (containerId !== undefined) return Object.freeze({ containerId, podUid });
    if (delegated.test(part) && !runtimes.test(part)) return undefined;
  }
  return undefined;
}

/** containerd, with cgroup drivers that do not fit together: `kubepods-podUID.slice:cri-containerd:ID`. */
function withoutColons(part: string): readonly string[] {
  const match = /^([^:]+\.slice):cri-containerd:([0-9a-f]{64})$/.exec(part);
  return match === null ? [part] : [match[1] ?? '', match[2] ?? ''];
}
