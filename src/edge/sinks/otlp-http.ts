import { AppError } from '../../base/errors.ts';
import type { SinkItem } from '../../control/ledger/sinks/item.ts';
import type { Sink } from '../../control/ledger/sinks/sink.ts';
import type { PosterOptions } from './post.ts';
import { isSuccess, jsonOf, Poster, refusal } from './post.ts';

export interface OtlpSinkOptions extends PosterOptions {
  /** An ExportLogsServiceRequest in the JSON encoding of OTLP. */
  readonly encode: (items: readonly SinkItem[]) => string;
  /** Sent as a bearer token. Default: none. */
  readonly token?: string;
}

/**
 * Logs by OTLP/HTTP in JSON (opentelemetry.io/docs/specs/otlp). A partial success counts as a refusal: which records it means is not
 * said, so they are sent again in smaller groups.
 */
export class OtlpSink implements Sink {
  readonly #o: OtlpSinkOptions;
  readonly #poster: Poster;

  constructor(options: OtlpSinkOptions) {
    this.#o = options;
    this.#poster = new Poster(options);
  }

  async deliver(items: readonly SinkItem[], signal: AbortSignal): Promise<void> {
    const { token, encode } = this.#o;
    const headers = {
      'content-type': 'application/json',
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
    };
    const answer = await this.#poster.post(Buffer.from(encode(items), 'utf8'), headers, signal);
    if (!isSuccess(answer)) throw refusal(answer);
    const rejected = rejectedIn(jsonOf(answer));
    if (rejected > 0) throw new AppError('invalid', `The receiver refused ${rejected} of ${items.length} records.`);
  }

  close(): Promise<void> {
    return this.#poster.close();
  }
}

/** 64-bit numbers are texts in the JSON of protobuf, and some write them as numbers. */
function rejectedIn({ partialSuccess }: Readonly<Record<string, unknown>>): number {
  if (typeof partialSuccess !== 'object' || partialSuccess === null) return 0;
  const rejected = Number('rejectedLogRecords' in partialSuccess ? partialSuccess.rejectedLogRecords : 0);
  return Number.isFinite(rejected) ? rejected : 0;
}
