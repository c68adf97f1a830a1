import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { realpathSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished } from 'vitest';
import { eventually } from '../support/dev-mesh.ts';
import { itUnless, missingPrograms } from './foreign.ts';
import type { World } from './world.ts';
import { startWorld } from './world.ts';

const WEB = 'spiffe://example.org/ns/shop/sa/web';
const ORDERS = 'spiffe://example.org/ns/shop/sa/orders';

const unavailable = missingPrograms('INTEROP_VENV', 'bin/python');
const python = join(process.env.INTEROP_VENV ?? '', 'bin/python');
const script = resolve(import.meta.dirname, 'pyspiffe.py');

type Line = Readonly<Record<string, unknown>>;

/** The SPIFFE library for Python, unmodified, beside a real `writ agent`. */
describe('pyspiffe', { timeout: 60_000 }, () => {
  let world: World;

  beforeAll(async () => {
    if (unavailable === '') world = await startWorld();
  });
  afterAll(async () => {
    if (unavailable === '') await world.stop();
  });

  /** What the kernel calls the program: the virtual environment has but a link to it. */
  const selectors = () => [`unix:uid:${process.geteuid?.()}`, `unix:path:${realpathSync(python)}`];

  itUnless(unavailable, 'a caller without an identity is told so', async () => {
    const program = new Program('denied', world.socketPath);
    expect(await program.lines(1)).toEqual([{ what: 'denied', error: expect.stringContaining('PERMISSION_DENIED') }]);
  });

  itUnless(
    unavailable,
    'its client and its sources get SVIDs, bundles and tokens, and have tokens validated',
    async () => {
      const web = await world.entry(WEB, selectors());
      const orders = await world.entry(ORDERS, selectors());
      onTestFinished(async () => {
        await world.remove(web);
        await world.remove(orders);
      });
      const program = new Program('once', world.socketPath);
      expect(await program.lines(10)).toEqual([
        { what: 'x509', ids: [WEB, ORDERS] },
        { what: 'default', id: WEB },
        { what: 'context', chain: 2, roots: 1 },
        { what: 'bundles', domains: ['example.org'] },
        { what: 'jwt', id: WEB, audience: ['ledger', 'payments'] },
        { what: 'validated', id: WEB },
        { what: 'refused', error: expect.stringContaining('not valid here') },
        { what: 'keys', count: 1 },
        { what: 'x509-source', id: WEB },
        { what: 'jwt-source', id: WEB, keys: 1 },
      ]);
    },
  );

  itUnless(unavailable, 'its source sees every new SVID, also after the identity was away', async () => {
    const id = await world.entry(WEB, selectors(), { dnsNames: ['one.example'] });
    const program = new Program('watch', world.socketPath);
    const [first] = await program.lines(1);
    expect(first).toMatchObject({ what: 'update', id: WEB });
    await world.update(id, { dnsNames: ['two.example'] });
    const [, second] = await program.lines(2);
    expect(second).toMatchObject({ what: 'update', id: WEB });
    expect(second?.serial).not.toBe(first?.serial);
    await world.remove(id);
    await world.entry(ORDERS, selectors());
    const last = (await program.lines(3)).at(-1);
    expect(last).toMatchObject({ what: 'update', id: ORDERS });
  });
});

/** The script, in one of its ways. */
class Program {
  readonly #child: ChildProcess;
  #output = '';
  #errors = '';

  constructor(way: string, socketPath: string) {
    this.#child = spawn(python, [script, way, `unix://${socketPath}`], { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#output += text;
    });
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#errors += text;
    });
    onTestFinished(() => this.stop());
  }

  /** Resolves when it has printed so many; all that it printed so far. */
  async lines(count: number): Promise<readonly Line[]> {
    return await eventually(`${count} lines`, 20_000, async () => {
      const lines = this.#output.split('\n').slice(0, -1);
      if (lines.length >= count) return lines.map((line) => JSON.parse(line) as Line);
      throw new Error(`${this.#output}\n${this.#errors}`);
    });
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const ended = new Promise((done) => this.#child.once('close', done));
    this.#child.kill('SIGKILL');
    await ended;
  }
}
