// Server-sent events over fetch, because EventSource cannot send an Authorization header.

/**
 * Cuts a stream of text into events. Chunks may end anywhere, also inside a line.
 *
 * @param {(event: {event: string, data: string}) => void} onEvent
 * @returns {(chunk: string) => void}
 */
export function createEventReader(onEvent) {
  let rest = '';
  let event = 'message';
  let data = [];
  const readLine = (line) => {
    if (line === '') {
      if (data.length > 0) onEvent({ event, data: data.join('\n') });
      event = 'message';
      data = [];
      return;
    }
    const colon = line.indexOf(':');
    const field = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'event') event = value;
    if (field === 'data') data.push(value);
  };
  return (chunk) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) readLine(line);
  };
}

/** Reads `response` until it ends. Throws when the connection breaks. */
export async function readEvents(response, onEvent) {
  const read = createEventReader(onEvent);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    read(value);
  }
}
