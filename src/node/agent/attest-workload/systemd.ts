import type { WorkloadAttestor } from './attestor.ts';
import type { Cgroup } from './proc-formats.ts';
import { parseCgroups } from './proc-formats.ts';

/**
 * The systemd unit that a process belongs to: `systemd:id:nginx.service`. From its cgroup, which systemd itself made.
 *
 * A process of a user's own systemd belongs to `user@UID.service`: what that one runs is the user's choice, and so would be
 * the name of its unit.
 */
export const systemdAttestor: WorkloadAttestor = Object.freeze({
  type: 'systemd',
  async attest(process) {
    const unit = unitOf(parseCgroups(await process.read('cgroup')));
    return unit === undefined ? [] : [`systemd:id:${unit}`];
  },
} satisfies WorkloadAttestor);

/** Longest name of a unit (systemd.unit(5)). */
const MAX_UNIT_LENGTH = 255;

/**
 * The outermost unit that is no slice: everything below it may be the unit's own choice (Delegate=). undefined for a process
 * that systemd has not placed, or that the agent sees from another cgroup namespace.
 */
export function unitOf(cgroups: readonly Cgroup[]): string | undefined {
  // systemd's own hierarchy in cgroup v1; in v2 there is but one.
  const own = cgroups.find(({ controllers }) => controllers === 'name=systemd');
  const unified = cgroups.find(({ controllers }) => controllers === '');
  const path = [own, unified].find((cgroup) => cgroup !== undefined && cgroup.path !== '/')?.path;
  for (const part of path?.slice(1).split('/') ?? []) {
    // systemd puts an underscore before names that the kernel would take for its own files.
    const name = part.replace(/^_/, '');
    if (/^[A-Za-z0-9:_.\\@-]+\.slice$/.test(name)) continue;
    const isUnit = /^[A-Za-z0-9:_.\\@-]+\.(?:service|scope)$/.test(name) && name.length <= MAX_UNIT_LENGTH;
    return isUnit ? name : undefined;
  }
  return undefined;
}
