import { describe, expect, it } from 'vitest';
import type { ServerEvent } from '../../src/cli/sse.ts';
import { readEvents } from '../../src/cli/sse.ts';

async function read(...chunks: (string | Uint8Array)[]): Promise<ServerEvent[]> {
  const encoder = new TextEncoder();
  const body = (async function* () {
    for (const chunk of chunks) yield typeof chunk === 'string' ? encoder.encode(chunk) : chunk;
  })();
  const events: ServerEvent[] = [];
  for await (const event of readEvents(body)) events.push(event);
  return events;
}

describe('server-sent events', () => {
  it('are read whatever the chunks, line ends and fields', async () => {
    expect(await read('ev', 'ent: record\r', '\ndata: {"a":1}\nid: 7\n', '\n', 'data:x\ndata: y\n\n')).toEqual([
      { event: 'record', data: '{"a":1}', id: '7' },
      { event: 'message', data: 'x\ny', id: '7' },
    ]);
  });

  it('comments and unfinished events are no events', async () => {
    expect(await read(': open\n\n', 'event: record\n\n', 'data: half')).toEqual([]);
  });

  it('characters that are cut by a chunk stay whole', async () => {
    const bytes = new TextEncoder().encode('data: →\n\n');
    expect(await read(bytes.subarray(0, 7), bytes.subarray(7))).toEqual([{ event: 'message', data: '→', id: '' }]);
  });

  it('one without an end is refused', async () => {
    await expect(read('data: ', 'x'.repeat(1024 * 1024 + 1))).rejects.toThrow('too long');
  });
});
