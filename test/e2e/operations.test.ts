import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { blocks, followGuide, freePorts, withPorts } from '../support/guide.ts';
import { tempDirectory } from '../support/temp.ts';
import { itWithTools } from '../support/tools.ts';

const page = 'docs/operations.md';

/** What the guide's commands are, beside those that every Unix has. */
const tools = ['bash', 'curl', 'openssl', 'python3', 'timeout'];

/** The ports that the guide names; here each stands for one that is free. */
const documentedPorts = [8080, 8443, 8444, 9090, 15000, 15001, 15006, 15010, 15011];

describe('the operator guide', { timeout: 90_000 }, () => {
  itWithTools(tools, 'can be followed from top to bottom', async () => {
    const directory = await tempDirectory();
    const ports = await freePorts(documentedPorts);
    await writeFile(join(directory, 'server.yaml'), withPorts(blocks(page, 'yaml'), ports));
    const { code, output } = await followGuide(directory, withPorts(blocks(page, 'console'), ports), 75);
    expect(output).toMatch(/shop\/orders created/);
    expect(output).toMatch(/^allow\b/im);
    expect(output).toMatch(/shop\/web +synced/);
    expect(output).toMatch(/ attestation +granted +shop\/orders /);
    expect(code, output).toBe(0);
  });
});
