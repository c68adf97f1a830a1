import { Backoff } from '../base/backoff.ts';
import type { Clock } from '../base/clock.ts';
import { sleep } from '../base/clock.ts';
import { AppError } from '../base/errors.ts';
import type { AuditRecord } from '../core/audit/event.ts';
import type { Client } from './client.ts';
import { readEvents } from './sse.ts';

export type TailItem<R = AuditRecord> =
  | { readonly type: 'connected' }
  | { readonly type: 'record'; readonly record: R }
  /** So many records were not sent, since we read too slowly. */
  | { readonly type: 'lost'; readonly count: number }
  /** The stream broke; calls in between may be missing here. They are all in the record: search for them. */
  | { readonly type: 'interrupted'; readonly why: string };

/** The server sends a comment every 15 s; three of them missing means that it is gone without a word. */
const SILENCE_MS = 45_000;

type Query = Readonly<Record<string, string | undefined>>;

/** Recorded calls as they happen. */
export function tailAudit(
  client: Client,
  query: Query,
  o: { readonly clock: Clock; readonly signal: AbortSignal },
): AsyncGenerator<TailItem> {
  return tailRecords<AuditRecord>(client, '/v1/audit/tail', query, o);
}

/**
 * The records of a live view as they come, until `signal` aborts. Connects again whenever the stream breaks; the first
 * connection must succeed, and a refusal (wrong token, wrong filter) ends it at any time.
 */
export async function* tailRecords<R>(
  client: Client,
  path: string,
  query: Query,
  o: { readonly clock: Clock; readonly signal: AbortSignal },
): AsyncGenerator<TailItem<R>> {
  const backoff = new Backoff({ initialMs: 200, maxMs: 5_000 });
  let connected = false;
  while (!o.signal.aborted) {
    try {
      for await (const item of connection<R>(client, path, query, o)) {
        connected = true;
        backoff.reset();
        yield item;
      }
      if (!o.signal.aborted) yield { type: 'interrupted', why: 'the server ended the stream' };
    } catch (error) {
      if (o.signal.aborted) return;
      if (!connected || isRefusal(error)) throw error;
      yield { type: 'interrupted', why: error instanceof AppError ? error.message : 'the connection broke' };
    }
    await sleep(o.clock, backoff.nextMs(), o.signal);
  }
}

async function* connection<R>(
  client: Client,
  path: string,
  query: Query,
  o: { readonly clock: Clock; readonly signal: AbortSignal },
): AsyncGenerator<TailItem<R>> {
  const silence = new AbortController();
  let cancel = o.clock.after(SILENCE_MS, () => silence.abort());
  const alive = () => {
    cancel();
    cancel = o.clock.after(SILENCE_MS, () => silence.abort());
  };
  try {
    const response = await client.open({
      method: 'GET',
      path,
      query,
      headers: { accept: 'text/event-stream' },
      signal: AbortSignal.any([o.signal, silence.signal]),
    });
    yield { type: 'connected' };
    if (response.body === null) return;
    for await (const event of readEvents(response.body, alive)) {
      const data: unknown = JSON.parse(event.data);
      if (event.event === 'record') yield { type: 'record', record: data as R };
      else if (event.event === 'lost') yield { type: 'lost', count: (data as { count: number }).count };
    }
  } finally {
    cancel();
  }
}

function isRefusal(error: unknown): boolean {
  return (
    error instanceof AppError &&
    ['unauthenticated', 'forbidden', 'invalid', 'invalid-document', 'not-found'].includes(error.code)
  );
}
