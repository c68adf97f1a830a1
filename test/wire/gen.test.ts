import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { generate } from '../../src/wire/gen.ts';
import { tempDirectory } from '../support/temp.ts';

describe('src/wire/gen', () => {
  it('is what `npm run gen` makes of proto/', async () => {
    const fresh = await tempDirectory();
    await generate(fresh);
    expect(await contents(join(import.meta.dirname, '../../src/wire/gen'))).toEqual(await contents(fresh));
  });
});

async function contents(directory: string): Promise<Record<string, string>> {
  const paths = (await readdir(directory, { recursive: true })).filter((path) => path.endsWith('.ts')).sort();
  return Object.fromEntries(
    await Promise.all(paths.map(async (path) => [path, await readFile(join(directory, path), 'utf8')])),
  );
}
