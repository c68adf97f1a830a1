/** Until when everything that a sidecar has recorded is known, by sidecar: milliseconds since the epoch, by our clock. */
export type Heard = Map<string, number>;

/** Between recording an event and our receiving it, where a sidecar has no backlog and its clock is nearly right. */
const PROMPT_MS = 30_000;

/**
 * An event of a sidecar was received, and all before it. One that is prompt says that nothing else is on its way; an old one
 * comes out of a backlog, of which the rest may still be missing, and so it says no more than its own time.
 */
export function noteHeard(heard: Heard, sidecar: string, event: { readonly time: number }, receivedAt: number): void {
  const isPrompt = Math.abs(receivedAt - event.time) <= PROMPT_MS;
  heard.set(sidecar, isPrompt ? receivedAt : Math.min(event.time, receivedAt));
}
