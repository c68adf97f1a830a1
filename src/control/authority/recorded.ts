import { toAppError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { IdentityFacts, Recorder } from '../ledger/recorder.ts';

/** What is known before it is carried out. */
export type Facts = Partial<IdentityFacts> & Pick<IdentityFacts, 'action'>;

/** Adds to what will be recorded. */
export type Note = (more: Partial<IdentityFacts>) => void;

/**
 * Carries something out and records how it went before the outcome is known to anybody. What was granted and cannot be recorded
 * is not handed out (`unavailable`); what was refused stays refused either way.
 */
export async function recorded<T>(
  o: { readonly recorder: Recorder; readonly logger: Logger },
  facts: Facts,
  work: (note: Note) => Promise<T>,
): Promise<T> {
  let known: IdentityFacts = { ...nothing, ...facts };
  const note: Note = (more) => {
    known = { ...known, ...more };
  };
  let value: T;
  try {
    value = await work(note);
  } catch (error) {
    const { code, message } = toAppError(error);
    const refused: IdentityFacts = { ...known, outcome: 'refused', expiresAt: 0, reason: `${code}: ${message}` };
    await o.recorder.record(refused).catch((failure: unknown) => {
      o.logger.error({ err: failure, action: facts.action }, 'a refusal could not be recorded');
    });
    throw error;
  }
  await o.recorder.record({ ...known, outcome: 'granted' });
  return value;
}

const nothing: IdentityFacts = Object.freeze({
  action: 'x509-svid',
  outcome: 'refused',
  subject: '',
  actor: '',
  entry: '',
  instance: '',
  serial: '',
  method: '',
  selectors: [],
  audience: [],
  expiresAt: 0,
  reason: '',
  source: '',
});
