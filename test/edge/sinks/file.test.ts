import { appendFile, mkdir, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { SinkItem } from '../../../src/control/ledger/sinks/item.ts';
import { FileSink } from '../../../src/edge/sinks/file.ts';
import { decision } from '../../support/audit.ts';
import { expectAppError } from '../../support/errors.ts';
import { tempDirectory } from '../../support/temp.ts';
import { itemsFrom } from './items.ts';

async function fileSink(maxBytes?: number) {
  const directory = await tempDirectory();
  const path = join(directory, 'audit.jsonl');
  const encode = ({ id }: SinkItem) => [JSON.stringify({ id })];
  const now = () => Date.UTC(2026, 0, 1);
  const sink = new FileSink({ path, encode, now, ...(maxBytes !== undefined && { maxBytes }) });
  onTestFinished(() => sink.close());
  const read = () => readFile(path, 'utf8');
  return { directory, path, sink, read };
}
const items = itemsFrom([decision(), decision(), decision()]);
const [one, two] = items as [SinkItem, SinkItem];
const line = ({ id }: SinkItem) => `${JSON.stringify({ id })}\n`;

describe('a file sink', () => {
  it('appends one line for each event, and only its owner can read the file', async () => {
    const { sink, read, path } = await fileSink();
    await sink.deliver([one]);
    await sink.deliver([two]);
    expect(await read()).toBe(line(one) + line(two));
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  it('cuts a line that was torn when the process ended, and keeps the whole ones', async () => {
    const { sink, read, path } = await fileSink();
    await writeFile(path, `${line(one)}{"id":"half`);
    await sink.deliver([two]);
    expect(await read()).toBe(line(one) + line(two));
  });

  it('sets a file without any whole line aside instead of writing over it', async () => {
    const { sink, read, path, directory } = await fileSink();
    await writeFile(path, 'not ours');
    await expectAppError(sink.deliver([one]), 'unavailable', `${path} holds no whole line: it was set aside.`);
    await sink.deliver([one]);
    expect(await read()).toBe(line(one));
    const aside = (await readdir(directory)).filter((name) => name !== 'audit.jsonl');
    expect(await readFile(join(directory, aside[0] ?? ''), 'utf8')).toBe('not ours');
  });

  it('begins a new file when the old one was moved away or removed', async () => {
    const { sink, read, path } = await fileSink();
    await sink.deliver([one]);
    await rename(path, `${path}.1`);
    await sink.deliver([two]);
    expect(await read()).toBe(line(two));
    expect(await readFile(`${path}.1`, 'utf8')).toBe(line(one));
    await rm(path);
    await sink.deliver([one]);
    expect(await read()).toBe(line(one));
  });

  it('looks at the file again when somebody else has written to it', async () => {
    const { sink, read, path } = await fileSink();
    await sink.deliver([one]);
    await appendFile(path, 'torn');
    await sink.deliver([two]);
    expect(await read()).toBe(line(one) + line(two));
  });

  it('sets a file aside before it grows too big, also twice in the same millisecond, and loses no line', async () => {
    const { sink, directory } = await fileSink(60);
    for (const item of [...items, ...items]) await sink.deliver([item]);
    const names = await readdir(directory);
    expect(names).toContain('audit.jsonl.2026-01-01T000000000Z');
    expect(names.length).toBeGreaterThan(2);
    const texts = await Promise.all(names.map((name) => readFile(join(directory, name), 'utf8')));
    expect(texts.every((text) => text.length <= 60)).toBe(true);
    expect(texts.join('').split('\n').filter(Boolean)).toHaveLength(6);
  });

  it('writes through no link, and says what is wrong with a directory', async () => {
    const { sink, path, directory } = await fileSink();
    await symlink(join(directory, 'elsewhere'), path);
    await expectAppError(sink.deliver([one]), 'unavailable', `Cannot write ${path}: ELOOP.`);
    await rm(path);
    await mkdir(path);
    await expectAppError(sink.deliver([one]), 'unavailable', `Cannot write ${path}: EISDIR.`);
    await rm(path, { recursive: true });
    await sink.deliver([one]);
  });
});
