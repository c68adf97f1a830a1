import { AppError } from '../../base/errors.ts';
import type { ShipNack } from '../../core/audit/ship.ts';

/** What the ledger's refusal of a batch is called on this side. */
export function nackError(nack: ShipNack): AppError {
  const where = `it expects epoch ${nack.expectedEpoch} from ${nack.expectedSeq}`;
  const text = `The ledger has refused a batch (${nack.code}, ${where}): ${nack.message}`;
  switch (nack.code) {
    case 'gap':
      return new AppError('audit-gap', text);
    case 'fork':
      return new AppError('audit-fork', text);
    case 'fenced':
    case 'clone':
      return new AppError('audit-fenced', text);
    case 'bad-signature':
    case 'bad-root':
      return new AppError('audit-refused', text);
    case 'too-large':
      return new AppError('too-large', text);
    case 'retry-later':
      return new AppError('unavailable', text);
  }
}
