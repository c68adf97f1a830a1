import { describe, expect } from 'vitest';
import { blocks, followGuide, freePorts, withPorts } from '../support/guide.ts';
import { tempDirectory } from '../support/temp.ts';
import { itWithTools } from '../support/tools.ts';

/** The ports that the page names; here each stands for one that is free. */
const documentedPorts = [
  8081, 8082, 8443, 8444, 8445, 8543, 8544, 8545, 9090, 9190, 15000, 15001, 15006, 15100, 15101, 15106,
];

describe('the page on federation', { timeout: 120_000 }, () => {
  itWithTools(
    ['bash', 'curl', 'openssl', 'python3', 'sed', 'timeout'],
    'lets two trust domains call each other both ways as policy allows, and no longer when the federation ends',
    async () => {
      const directory = await tempDirectory();
      const ports = await freePorts(documentedPorts);
      const steps = withPorts(blocks('docs/federation.md', 'console'), ports);
      const { code, output } = await followGuide(directory, steps, 100);
      expect(output).toMatch(/^partner\.example +https_spiffe +fresh +\d+/m);
      expect(output).toMatch(/^example\.org +https_spiffe +fresh +\d+/m);
      expect(output).toMatch(/allow/);
      expect(output).toMatch(/federation\.delete +granted/);
      expect(code, output).toBe(0);
    },
  );
});
