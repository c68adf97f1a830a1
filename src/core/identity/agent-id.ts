import { AppError } from '../../base/errors.ts';
import type { SpiffeId } from './spiffe-id.ts';
import { parseSpiffeId } from './spiffe-id.ts';

/** Below it are the identities of agents: `spiffe://<trust domain>/writ/agent/<method>/<id>`. */
const prefix = '/writ/agent/';

/**
 * The identity of an agent, which follows from how it attested itself: `segments` are what the method knows it by.
 *
 * @throws AppError `invalid` when a segment has a character that a path segment may not have
 */
export function agentId(trustDomain: string, method: string, ...segments: readonly string[]): SpiffeId {
  if (segments.length === 0) throw new AppError('internal', 'An agent has a name below its method.');
  return parseSpiffeId(`spiffe://${trustDomain}${prefix}${[method, ...segments].join('/')}`);
}

export function isAgentId(id: Pick<SpiffeId, 'path'>): boolean {
  return id.path.startsWith(prefix);
}
