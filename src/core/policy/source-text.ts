import { isMap } from 'yaml';
import type { YamlDocument, YamlText } from './yaml-form.ts';
import type { Value } from './yaml-reader.ts';

/** Part of a text that holds one policy, and parses to it by itself. Its lines are those of the whole text. */
export interface SourceText {
  readonly text: string;
  /** Line of the whole text on which it begins, from 1. */
  readonly line: number;
}

/** A document with its comments, without the markers between documents. */
export function documentSource(yaml: YamlText, document: YamlDocument): SourceText {
  return cut(yaml, document.start, document.end, (text) => text.replace(/\n\.\.\.[^\n]*\s*$/, ''));
}

/** An item of a list, moved to the left margin. */
export function itemSource(yaml: YamlText, item: Value): SourceText {
  const [start, end] = item.node?.range ?? [item.offset, item.offset];
  // Braces say where a flow mapping ends; only block style means something by its indentation.
  const indent = isMap(item.node) && item.node.flow !== true ? yaml.position(start).col - 1 : 0;
  if (indent === 0) return cut(yaml, start, end, (text) => text);
  // Comments may stand further to the left.
  const margin = new RegExp(`\\n {1,${indent}}`, 'g');
  return cut(yaml, start, end, (text) => text.replace(margin, '\n'));
}

function cut(yaml: YamlText, start: number, end: number, change: (text: string) => string): SourceText {
  const raw = yaml.text.slice(start, end);
  const begin = start + (/^\s*\n/.exec(raw)?.[0].length ?? 0);
  return { text: `${change(yaml.text.slice(begin, end)).trimEnd()}\n`, line: yaml.position(begin).line };
}
