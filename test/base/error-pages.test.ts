import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, it } from 'vitest';
import { errorCodes } from '../../src/base/errors.ts';

it('every error code has its paragraph in docs/errors.md, and there is no other', () => {
  const page = readFileSync(resolve(import.meta.dirname, '../../docs/errors.md'), 'utf8');
  expect([...page.matchAll(/^## (.+)$/gm)].map((match) => match[1])).toEqual([...errorCodes]);
});
