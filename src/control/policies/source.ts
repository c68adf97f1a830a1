import { AppError } from '../../base/errors.ts';
import type { PolicyKey, PolicyObject } from '../../core/policy/kinds.ts';
import { keyOf, keyText, titleOf } from '../../core/policy/kinds.ts';
import type { ParsedDocument } from '../../core/policy/parse.ts';
import { parseDocuments } from '../../core/policy/parse.ts';

/** What a source text means. Its `revision` is 0: which revision it is stands beside the text. `source` is what is kept. */
export type ParsedSource = PolicyObject & Pick<ParsedDocument, 'source' | 'ruleLines'>;

/**
 * Parses the text of exactly one object. It is kept byte for byte; only of a List of one, the object alone. Throws
 * `invalid-document` with all findings.
 */
export function parseOne(source: string): ParsedSource {
  const documents = parseDocuments(source);
  const [document, second] = documents;
  if (document !== undefined && second === undefined) {
    return document.pointer === '' ? inWhole(document, source) : document;
  }
  throw new AppError(
    'invalid-document',
    `One policy is expected, and the text holds ${documents.length}. Put each policy by itself.`,
    {
      details: [
        {
          code: 'one-document',
          message: 'expected exactly one policy document',
          ...(second === undefined ? {} : { line: second.line }),
        },
      ],
    },
  );
}

/** Its lines are those of the text, which may have some before the document. */
function inWhole(document: ParsedDocument, source: string): ParsedSource {
  const ruleLines = document.ruleLines.map((line) => line + document.line - 1);
  return Object.freeze({ ...document, source, ruleLines: Object.freeze(ruleLines) });
}

export interface StoredSource extends PolicyKey {
  readonly revision: number;
  readonly source: string;
}

/**
 * Parses what an earlier put has checked. Throws `incompatible-data` when that fails: then another version of Writ wrote it,
 * with rules that this one would silently leave out.
 */
export function parseStored(stored: StoredSource): ParsedSource {
  try {
    const parsed = parseOne(stored.source);
    if (keyText(keyOf(parsed)) === keyText(stored)) return parsed;
    throw new AppError('invalid', 'the text names another object');
  } catch (cause) {
    if (!(cause instanceof AppError)) throw cause;
    throw new AppError(
      'incompatible-data',
      `The stored ${titleOf(stored)} (revision ${stored.revision}) cannot be read by this version of Writ; a newer ` +
        'version wrote it. Run that version, or delete it or put another text with it.',
      { cause },
    );
  }
}
