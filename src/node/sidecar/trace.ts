import type { RandomBytes } from '../../base/random.ts';

const form = /^(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:$|-)/;

/** The trace id in a `traceparent` header (W3C Trace Context §3.2), or undefined where it is absent or malformed. */
export function traceIdOf(traceparent: string | undefined): string | undefined {
  if (traceparent === undefined || traceparent.length > 512) return undefined;
  const match = form.exec(traceparent);
  if (match === null || /^0+$/.test(match[1] ?? '') || /^0+$/.test(match[2] ?? '')) return undefined;
  // Version 00 has exactly these four fields.
  if (traceparent.startsWith('00') && traceparent.length !== 55) return undefined;
  return match[1];
}

/** A fresh, unsampled trace: it joins the records of one call, and asks nobody to trace it. */
export function newTraceparent(random: RandomBytes): { readonly header: string; readonly traceId: string } {
  const bytes = random(24);
  // All zeroes would be invalid; one set bit in each field makes that impossible.
  bytes[0] = (bytes[0] ?? 0) | 1;
  bytes[16] = (bytes[16] ?? 0) | 1;
  const hex = bytes.toString('hex');
  const traceId = hex.slice(0, 32);
  return { header: `00-${traceId}-${hex.slice(32)}-00`, traceId };
}
