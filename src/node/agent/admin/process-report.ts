import type { Clock } from '../../../base/clock.ts';
import { AppError } from '../../../base/errors.ts';
import type { WorkloadAttestor } from '../attest-workload/attestor.ts';
import { attestWorkload } from '../attest-workload/attestor.ts';
import type { OpenedProcess } from '../attest-workload/process-view.ts';
import { openProcess } from '../attest-workload/process-view.ts';
import type { AgentIdentities } from '../identities/agent-identities.ts';
import { Interests } from '../workload-api/interests.ts';
import type { NearMiss } from './why.ts';
import { nearMisses } from './why.ts';

/** What the agent knows about a process: which identities it has, and why not others. JSON. */
export interface ProcessReport {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
  readonly selectors: readonly string[];
  /** Attestors that could not say anything. */
  readonly failures: readonly { readonly attestor: string; readonly message: string }[];
  /** The default one first. */
  readonly identities: readonly { readonly spiffeId: string; readonly entryId: string; readonly hint: string }[];
  readonly nearest: readonly NearMiss[];
  /** Entries that this agent has in all. */
  readonly entries: number;
  /** Whether the control plane is there; if not, all of it is what it said last. */
  readonly connected: boolean;
}

export interface ProcessReportOptions {
  readonly identities: AgentIdentities;
  readonly attestors: readonly WorkloadAttestor[];
  readonly clock: Clock;
  readonly procRoot?: string;
}

/**
 * Attests a process as if it had called.
 *
 * @throws AppError `not-found` when there is none, `unavailable` when nothing is known yet or could be found out
 */
export async function reportProcess(o: ProcessReportOptions, pid: number, signal: AbortSignal): Promise<ProcessReport> {
  const state = o.identities.state.current;
  if (state === undefined) throw new AppError('unavailable', 'The agent has not heard from the control plane yet.');
  const interests = new Interests(o.identities.state);
  const process = openOne(pid, o.procRoot);
  try {
    const { selectors, failures } = await attestWorkload(o.attestors, process.view, {
      wants: (prefix) => interests.wants(prefix),
      signal,
    });
    const grants = o.identities.grantsFor(selectors);
    const matched = new Set(grants.map(({ entry }) => entry.id));
    const others = [...state.entries.values()].filter((entry) => !matched.has(entry.id));
    const { uid, gid } = process.view.owner;
    return Object.freeze({
      pid,
      uid,
      gid,
      selectors,
      failures: failures.map(({ type, error }) => ({ attestor: type, message: error.message })),
      identities: grants.map(({ spiffeId, entry }) => ({ spiffeId, entryId: entry.id, hint: entry.hint })),
      nearest: nearMisses({ entries: others, selectors, now: o.clock.now() }),
      entries: state.entries.size,
      connected: state.connected,
    });
  } finally {
    process.close();
  }
}

function openOne(pid: number, procRoot: string | undefined): OpenedProcess {
  try {
    return openProcess(pid, procRoot);
  } catch (cause) {
    throw new AppError('not-found', `There is no process ${pid} here.`, { cause });
  }
}
