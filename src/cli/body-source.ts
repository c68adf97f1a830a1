import type { Finding } from '../base/errors.ts';
import { AppError } from '../base/errors.ts';
import type { BatchBody } from '../core/audit/batch-body.ts';
import { checkBody } from '../core/audit/batch-body.ts';
import { lastSeqOf } from '../core/audit/batch-header.ts';
import { parseLogRecord } from '../core/audit/log-record.ts';
import { fromBase64 } from '../core/audit/note.ts';
import type { BatchEncoding } from '../core/audit/ship.ts';
import type { Client } from './client.ts';

interface Page {
  readonly batches: readonly Readonly<Record<string, unknown>>[];
  readonly next: number | null;
  readonly problem: string | null;
}

/** More differences than anybody reads. */
const MAX_FINDINGS = 100;

/**
 * The events that a control plane holds for the entries of its log, each batch held against its entry. What differs is
 * collected, and the rest is still read. Nothing that the control plane gives is believed.
 */
export class BodySource {
  readonly #client: Client;
  readonly #findings: Finding[] = [];
  #page: Page = { batches: [], next: 0, problem: null };
  #at = 0;
  #isEnded = false;

  constructor(client: Client) {
    this.#client = client;
  }

  /** What differs. */
  get findings(): readonly Finding[] {
    return this.#findings;
  }

  /** The batch of this leaf, whose entry is verified, or will be. Leaves come in order. */
  async take(leaf: number, entry: Buffer): Promise<void> {
    if (this.#isEnded) return;
    const given = await this.#next(leaf);
    if (given === undefined) return;
    try {
      const record = parseLogRecord(entry);
      const { instanceId, epoch, firstSeq } = record.batch;
      const where = `sidecar ${instanceId}, epoch ${epoch}, events ${firstSeq} to ${lastSeqOf(record.batch)}`;
      try {
        if (given.leaf !== leaf)
          throw new AppError('proof-refused', `batch ${String(given.leaf)} was given in its place`);
        checkBody(record, bodyIn(given));
      } catch (error) {
        if (!(error instanceof AppError)) throw error;
        this.#note(`batch ${leaf} (${where}): ${error.message}`);
      }
    } catch (error) {
      // Of an entry that cannot be read the log itself is refused.
      if (!(error instanceof AppError)) throw error;
    }
  }

  async #next(leaf: number): Promise<Readonly<Record<string, unknown>> | undefined> {
    if (this.#at === this.#page.batches.length) {
      const { problem } = this.#page;
      if (problem === null) await this.#read(leaf);
      if (this.#page.batches.length === this.#at) {
        this.#isEnded = true;
        this.#note(
          `batch ${leaf} and what is behind it: ${this.#page.problem ?? 'the control plane does not give it'}`,
        );
        return undefined;
      }
    }
    return this.#page.batches[this.#at++];
  }

  async #read(leaf: number): Promise<void> {
    const { body } = await this.#client.call<Page>({
      method: 'GET',
      path: `/v1/audit/batches/${leaf}`,
      timeoutMs: 60_000,
    });
    this.#page = body;
    this.#at = 0;
  }

  #note(message: string): void {
    if (this.#findings.length < MAX_FINDINGS) this.#findings.push({ code: 'proof-refused', message });
  }
}

function bodyIn(given: Readonly<Record<string, unknown>>): BatchBody {
  const bytes = (name: string): Buffer => {
    const value = given[name];
    const decoded = typeof value === 'string' ? fromBase64(value) : undefined;
    if (decoded === undefined) throw new AppError('proof-refused', `${name} is malformed`);
    return decoded;
  };
  const { encoding } = given;
  if (!isEncoding(encoding)) throw new AppError('proof-refused', 'its encoding is unknown');
  return {
    batch: { header: bytes('header'), signature: bytes('signature'), events: bytes('events'), encoding },
    certificate: bytes('certificate'),
    keySignature: bytes('keySignature'),
  };
}

function isEncoding(value: unknown): value is BatchEncoding {
  return value === 'identity' || value === 'zstd';
}
