import { unreachable } from '../base/errors.ts';
import type { StringMatch } from '../core/policy/model.ts';
import * as field from './fields.ts';
import type { StringMatch as ProtoMatch, StringMatch__Output as ProtoMatchOutput } from './gen/writ/v1/StringMatch.ts';

/** In UTF-16 units. More than fits into a document: what the control plane accepts must not be refused here, with all that came with it. */
export const MAX_MATCH_LENGTH = 2 * 1024 * 1024;

export function toMatch(match: StringMatch): ProtoMatch {
  switch (match.kind) {
    case 'exact':
      return { exact: match.value };
    case 'prefix':
      return { prefix: match.value };
    case 'suffix':
      return { suffix: match.value };
    case 'present':
      return { present: true };
    case 'template':
      return { template: match.value };
    default:
      return unreachable(match);
  }
}

/** An unknown kind of match (a newer control plane) reads as none set, and must not read as "matches everything". */
export function fromMatch(message: ProtoMatchOutput, path: string): StringMatch {
  switch (message.match) {
    case 'exact':
      return Object.freeze({ kind: 'exact', value: message.exact ?? '' });
    case 'prefix':
      return Object.freeze({
        kind: 'prefix',
        value: field.text(message.prefix ?? '', `${path}.prefix`, MAX_MATCH_LENGTH),
      });
    case 'suffix':
      return Object.freeze({
        kind: 'suffix',
        value: field.text(message.suffix ?? '', `${path}.suffix`, MAX_MATCH_LENGTH),
      });
    case 'present':
      if (message.present !== true) throw field.invalid(`${path}.present`, 'is false');
      return Object.freeze({ kind: 'present' });
    case 'template':
      throw field.invalid(path, 'is a path template, and this is no path');
    case undefined:
      throw field.invalid(path, 'has no kind of match that is known here');
    default:
      return unreachable(message.match);
  }
}
