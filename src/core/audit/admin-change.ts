import { createHash } from 'node:crypto';
import { unifiedDiff } from '../../base/unified-diff.ts';
import type { AdminEvent } from './admin-event.ts';

/**
 * A change as administrative events hold it: hashes of the whole texts, and their difference, of which as much is recorded as
 * there is room for. `undefined` is a text that is not there.
 */
export function changeOf(o: {
  readonly before: string | undefined;
  readonly after: string | undefined;
  /** What the difference calls the two. */
  readonly from: string;
  readonly to: string;
}): Pick<AdminEvent, 'before' | 'after' | 'detail'> {
  return { before: hashOf(o.before), after: hashOf(o.after), detail: unifiedDiff(o.before, o.after, o) };
}

function hashOf(text: string | undefined): string {
  return text === undefined ? '' : createHash('sha256').update(text, 'utf8').digest('hex');
}
