/** One event of a stream (WHATWG HTML §9.2). */
export interface ServerEvent {
  readonly event: string;
  readonly data: string;
  readonly id: string;
}

/** Longest event that is read, in characters: a server that never ends one must not fill our memory. */
const MAX_EVENT = 1024 * 1024;

/** Reads `text/event-stream`. Ends when the stream does; comments (heartbeats) call `onAlive` and nothing more. */
export async function* readEvents(body: AsyncIterable<Uint8Array>, onAlive?: () => void): AsyncGenerator<ServerEvent> {
  const decoder = new TextDecoder();
  let rest = '';
  let lastId = '';
  let event = '';
  let data: string[] = [];
  for await (const chunk of body) {
    onAlive?.();
    rest += decoder.decode(chunk, { stream: true });
    if (rest.length > MAX_EVENT) throw new Error('an event is too long');
    const lines = rest.split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop() ?? '';
    for (const line of lines) {
      if (line === '') {
        if (data.length > 0) yield { event: event === '' ? 'message' : event, data: data.join('\n'), id: lastId };
        event = '';
        data = [];
        continue;
      }
      const colon = line.indexOf(':');
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
      if (field === 'event') event = value;
      else if (field === 'data') data.push(value);
      else if (field === 'id' && !value.includes('\0')) lastId = value;
    }
  }
}
