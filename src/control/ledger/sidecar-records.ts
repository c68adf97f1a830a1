import type { Clock } from '../../base/clock.ts';
import type { Store } from '../store/store.ts';
import type { AuditIndex } from './index.ts';
import type { Ledger } from './ledger.ts';

/** What is known of the record that a sidecar keeps. */
export interface SidecarRecord {
  /** Until when everything that it has recorded is known, in milliseconds since the epoch; null: nothing yet. */
  readonly heardAt: number | null;
  /** Since when nothing is known of it, in milliseconds since the epoch; null while it speaks. */
  readonly staleSince: number | null;
  /** Its newest in the ledger; null before the first. Each one more is an admission that records are missing. */
  readonly epoch: number | null;
  /** Its own admissions that are in the index. */
  readonly gaps: number;
}

export interface SidecarRecordsOptions {
  readonly store: Pick<Store, 'db'>;
  readonly index: Pick<AuditIndex, 'recordedUntil'>;
  readonly ledger: Pick<Ledger, 'epochOf'>;
  readonly clock: Clock;
}

/** Whom the question is about, and since when we could have heard of it at all. */
export interface Asked {
  readonly instanceId: string;
  readonly since: number;
}

/** A sidecar beats every ten seconds when nothing happens: three beats that did not come. */
const SILENT_MS = 30_000;

/**
 * Says for each sidecar how fresh its record is, so that nobody takes for calm what is silence. As this replica of the control
 * plane knows it: a sidecar that ships to another one is silent here.
 */
export class SidecarRecords {
  readonly #o: SidecarRecordsOptions;

  constructor(o: SidecarRecordsOptions) {
    this.#o = o;
  }

  async of(asked: readonly Asked[]): Promise<ReadonlyMap<string, SidecarRecord>> {
    const { index, ledger, clock } = this.#o;
    const now = clock.now();
    const gaps = await this.#gaps(asked.map(({ instanceId }) => instanceId));
    return new Map(
      asked.map(({ instanceId, since }) => {
        const heardAt = index.recordedUntil(instanceId);
        const last = heardAt ?? since;
        const staleSince = now - last > SILENT_MS ? last : null;
        const record = { heardAt, staleSince, epoch: ledger.epochOf(instanceId), gaps: gaps.get(instanceId) ?? 0 };
        return [instanceId, Object.freeze(record)];
      }),
    );
  }

  async #gaps(sidecars: readonly string[]): Promise<ReadonlyMap<string, number>> {
    if (sidecars.length === 0) return new Map();
    const rows = await this.#o.store.db
      .selectFrom('audit_notes')
      .select(({ fn }) => ['sidecar', fn.countAll<number | string>().as('gaps')])
      .where('kind', '=', 'gap')
      .where('sidecar', 'in', sidecars)
      .groupBy('sidecar')
      .execute();
    return new Map(rows.map(({ sidecar, gaps }) => [sidecar, Number(gaps)]));
  }
}
