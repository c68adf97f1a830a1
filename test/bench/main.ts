import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { benchAgents } from './agents.ts';
import { benchDecide } from './decide.ts';
import { benchIngest } from './ingest.ts';
import { benchIssuance } from './issuance.ts';
import { benchOneChange } from './one-change.ts';
import { benchPlan } from './plan.ts';
import { benchPush } from './push.ts';
import { benchQuarantine } from './quarantine.ts';
import { opensslP256, sha256PerSecond } from './reference.ts';
import type { Row } from './report.ts';
import { table, writeJson } from './report.ts';
import { benchRotation } from './rotation.ts';
import { benchSidecar } from './sidecar.ts';

/**
 * `npm run bench [-- issuance decide push plan quarantine ingest sidecar agents rotation]`: measures the hot paths, each beside a reference in
 * the same run, and prints a table; the same as JSON in bench-results.json. Figures differ between machines, ratios hardly.
 */
const parts: Readonly<Record<string, (directory: string) => Promise<Row[]>>> = {
  issuance: () => benchIssuance(opensslP256()),
  decide: async () => benchDecide(sha256PerSecond()),
  push: async (directory) => [...(await benchPush(directory)), ...(await benchOneChange())],
  plan: benchPlan,
  quarantine: benchQuarantine,
  ingest: benchIngest,
  sidecar: benchSidecar,
  agents: benchAgents,
  rotation: benchRotation,
};

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => parts[name] === undefined);
if (unknown.length > 0) {
  process.stderr.write(`No such part: ${unknown.join(', ')}. There are: ${Object.keys(parts).join(', ')}.\n`);
  process.exit(2);
}
// Timers of ours do not keep a process alive; while something is measured or closed, waiting is work.
const alive = setInterval(() => undefined, 2 ** 30);
const directory = await mkdtemp(join(tmpdir(), 'writ-bench-'));
try {
  const rows: Row[] = [];
  for (const [name, run] of Object.entries(parts)) {
    if (asked.length > 0 && !asked.includes(name)) continue;
    process.stderr.write(`${name} …\n`);
    rows.push(...(await run(directory)));
  }
  const file = resolve('bench-results.json');
  await writeJson(file, rows);
  process.stdout.write(`${table(rows)}\n\nAs JSON: bench-results.json\n`);
} finally {
  await rm(directory, { recursive: true, force: true });
  clearInterval(alive);
}
