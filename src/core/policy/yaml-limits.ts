import { Lexer } from 'yaml';
import type { Findings } from './findings.ts';

/** Text of at most this many bytes is read. */
export const MAX_POLICY_BYTES = 1024 * 1024;
/** Flow nesting, and block collections begun on one line. A policy needs 8. */
const MAX_DEPTH = 64;
/** Words and signs of a text. 1 MiB of policies has about 200,000; the library takes 10 µs for the worst. */
const MAX_LEXEMES = 300_000;

/** What the lexer of `yaml` puts between the parts of the text: document, error in a flow collection, scalar. */
const markers: ReadonlySet<string> = new Set(['\x02', '\x18', '\x1f']);

export const TOO_DEEP = 'Mappings and lists are nested too deeply. A policy needs 8 levels.';

/** Whether a text is too much to be read; asked, and reported, before anything recursive or slow sees it. */
export function exceedsLimits(text: string, findings: Findings): boolean {
  return tooLarge(text, findings) || tooIntricate(text, findings);
}

function tooLarge(text: string, findings: Findings): boolean {
  const bytes = Buffer.byteLength(text);
  if (bytes <= MAX_POLICY_BYTES) return false;
  const message = `The text has ${bytes} bytes, the limit is ${MAX_POLICY_BYTES}. Split it into several files.`;
  findings.add('too-large', { offset: 0, pointer: '' }, message);
  return true;
}

function tooIntricate(text: string, findings: Findings): boolean {
  let flow = 0;
  let onLine = 0;
  let offset = 0;
  let count = 0;
  for (const lexeme of new Lexer().lex(text)) {
    if (markers.has(lexeme)) continue;
    if (lexeme === '[' || lexeme === '{') flow += 1;
    else if (lexeme === ']' || lexeme === '}') flow -= 1;
    else if (lexeme === '-' || lexeme === '?' || lexeme === ':') onLine += flow > 0 ? 0 : 1;
    else if (lexeme.endsWith('\n')) onLine = 0;
    count += 1;
    if (flow > MAX_DEPTH || onLine > MAX_DEPTH) {
      findings.add('too-deep', { offset, pointer: '' }, TOO_DEEP);
      return true;
    }
    if (count > MAX_LEXEMES) {
      const message = `The text has more than ${MAX_LEXEMES} words and signs. Split it into several files.`;
      findings.add('too-large', { offset, pointer: '' }, message);
      return true;
    }
    offset += lexeme.length;
  }
  return false;
}
