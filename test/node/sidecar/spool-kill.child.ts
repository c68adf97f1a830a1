import { writeSync } from 'node:fs';
import { systemClock } from '../../../src/base/clock.ts';
import type { Durability } from '../../../src/base/journal/journal.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { uuidv7 } from '../../../src/base/random.ts';
import { CallRecorder } from '../../../src/node/sidecar/call-recorder.ts';
import { Spool } from '../../../src/node/sidecar/spool.ts';

/** Records calls as fast as it can and prints each one that it may forward, until it is killed. */
const [directory = '', mode = 'fsync'] = process.argv.slice(2);
/** In the mode `degrade` the spool is soon full, and calls are counted then. */
const isDegrading = mode === 'degrade';
const spool = await Spool.open({
  directory,
  clock: systemClock,
  logger: silentLogger,
  durability: isDegrading ? 'fsync' : (mode as Durability),
  maxBytes: isDegrading ? 400_000 : 8_000_000,
});
const rules = [{ port: 8080, record: 'strict', whenFull: isDegrading ? 'degrade' : 'refuse' }] as const;
const recorder = isDegrading ? new CallRecorder({ spool, rules, clock: systemClock, logger: silentLogger }) : spool;
const caller = async () => {
  for (;;) {
    const call = uuidv7(systemClock);
    await recorder.append({
      kind: 'decision',
      call,
      time: systemClock.now(),
      source: 'spiffe://example.org/ns/shop/sa/web',
      destination: 'spiffe://example.org/ns/shop/sa/orders',
      protocol: 'http',
      method: 'GET',
      host: 'orders.shop.mesh',
      path: '/',
      port: 8080,
      decision: 'allow',
      reason: 'allow-rule',
      rule: 'shop/orders@1#0',
      policyRevision: 1,
      traceId: '',
      tokenSubject: '',
      certificateSerial: '01',
    });
    writeSync(1, `${call}\n`);
    // Nothing else slows down who only counts, and the pipe has to be read.
    if (isDegrading) await new Promise((resolve) => setTimeout(resolve, 1));
  }
};
await Promise.all(Array.from({ length: 8 }, caller));
