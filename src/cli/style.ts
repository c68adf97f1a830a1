import type { World } from './world.ts';

/** Colours, or the text as it is. */
export interface Style {
  green(text: string): string;
  red(text: string): string;
  yellow(text: string): string;
  dim(text: string): string;
  bold(text: string): string;
}

const plain = (text: string): string => text;
export const plainStyle: Style = { green: plain, red: plain, yellow: plain, dim: plain, bold: plain };

const code =
  (open: number, close: number) =>
  (text: string): string =>
    text === '' ? '' : `\u001b[${open}m${text}\u001b[${close}m`;
export const colourStyle: Style = {
  green: code(32, 39),
  red: code(31, 39),
  yellow: code(33, 39),
  dim: code(2, 22),
  bold: code(1, 22),
};

export const colourChoices = ['auto', 'always', 'never'] as const;

/** `--color` always, never or auto: auto colours a terminal unless NO_COLOR (no-color.org) or TERM=dumb says otherwise. */
export function styleFor(
  choice: (typeof colourChoices)[number],
  world: Pick<World, 'env' | 'stdoutIsTerminal'>,
): Style {
  if (choice === 'always') return colourStyle;
  if (choice === 'never') return plainStyle;
  const wanted = (world.env.NO_COLOR ?? '') === '' && world.env.TERM !== 'dumb' && world.stdoutIsTerminal;
  return wanted ? colourStyle : plainStyle;
}

/**
 * Text of others, made harmless for a terminal: paths and hosts are chosen by callers, and an escape sequence in them
 * could rewrite what an operator sees. Control characters and those that turn the direction of text become `\u{…}`.
 */
export function safe(text: string): string {
  return text.replace(unsafe, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);
}
const unsafe = /[\p{Cc}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;
