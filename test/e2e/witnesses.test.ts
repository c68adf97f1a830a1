import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { blocks, followGuide, freePorts, withPorts } from '../support/guide.ts';
import { tempDirectory } from '../support/temp.ts';
import { itWithTools } from '../support/tools.ts';

const page = 'docs/witnesses.md';
const tools = ['bash', 'curl', 'openssl', 'sed', 'sha256sum', 'timeout'];

/** The ports that the page names; here each stands for one that is free. */
const documentedPorts = [8443, 8444, 8446, 8447, 8448, 9090];

describe('the page on witnesses', { timeout: 120_000 }, () => {
  itWithTools(tools, 'has a log cosigned by three witnesses, and a rollback found out by them', async () => {
    const directory = await tempDirectory();
    const ports = await freePorts(documentedPorts);
    await writeFile(join(directory, 'server.yaml'), withPorts(blocks(page, 'yaml'), ports));
    const { code, output } = await followGuide(directory, withPorts(blocks(page, 'console'), ports), 100);
    expect(output).toMatch(/witnesses {2}\w(, \w)+\n/);
    expect(output).toMatch(/is on the record\n[^✓]*witnesses +\w, \w/);
    expect(output).toMatch(/^— a\.example\/witness \S+$/m);
    expect(output).toMatch(/\w \(CONTRADICTS\)/);
    expect(code, output).toBe(0);
  });
});
