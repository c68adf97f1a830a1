import { shortName } from '../api.ts';
import { kinds, listAll } from '../kinds.ts';
import { span } from '../table.ts';
import type { Check } from './result.ts';
import { failed, ok, skipped, warning } from './result.ts';

/** Clocks further apart than this make certificates and join tokens fail at their edges. */
export const MAX_SKEW_MS = 5_000;
/** Certificates are backdated by ten seconds: a clock that is further behind refuses what was just issued. */
const BROKEN_SKEW_MS = 10_000;
/** Most that are named. */
const MAX_NAMED = 10;

interface ClockOf {
  readonly spiffeId: string;
  readonly instanceId: string;
  /** Older servers do not say. */
  readonly clockSkewMs?: number | null;
}

/** Clocks of the nodes that are connected, as the control plane saw them when they connected. */
export const nodeClocks: Check = {
  group: 'nodes',
  title: 'clocks of agents and sidecars agree with the control plane',
  async run({ info, client }) {
    if (info === undefined) return skipped('the server did not answer');
    const nodes: readonly ClockOf[] = await listAll(client, kinds.node, {});
    const known = nodes.filter((node) => typeof node.clockSkewMs === 'number');
    if (known.length === 0) return skipped('none is connected');
    const off = known
      .filter((node) => Math.abs(skewOf(node)) > MAX_SKEW_MS)
      .sort((a, b) => Math.abs(skewOf(b)) - Math.abs(skewOf(a)));
    if (off.length === 0) return ok(`${known.length} connected`);
    const more = off.length > MAX_NAMED ? ` and ${off.length - MAX_NAMED} more` : '';
    const found = `${off.slice(0, MAX_NAMED).map(describe).join(', ')}${more}`;
    return Math.abs(skewOf(off[0])) > BROKEN_SKEW_MS
      ? failed(found, 'Synchronise them with NTP: new certificates are refused there, or end too early.')
      : warning(found, 'Synchronise them with NTP, before certificates are refused there.');
  },
};

function describe(node: ClockOf): string {
  const skewMs = skewOf(node);
  return `${shortName(node.spiffeId)} (${node.instanceId}) is ${span(Math.abs(skewMs) / 1000)} ${skewMs > 0 ? 'ahead' : 'behind'}`;
}

function skewOf(node: ClockOf | undefined): number {
  return node?.clockSkewMs ?? 0;
}
