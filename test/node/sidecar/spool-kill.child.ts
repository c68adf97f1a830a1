import { writeSync } from 'node:fs';
import { systemClock } from '../../../src/base/clock.ts';
import type { Durability } from '../../../src/base/journal/journal.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { uuidv7 } from '../../../src/base/random.ts';
import { Spool } from '../../../src/node/sidecar/spool.ts';

/** Records calls as fast as it can and prints each one that it may forward, until it is killed. */
const [directory = '', durability = 'fsync'] = process.argv.slice(2);
const spool = await Spool.open({
  directory,
  clock: systemClock,
  logger: silentLogger,
  durability: durability as Durability,
  maxBytes: 8_000_000,
});
const caller = async () => {
  for (;;) {
    const call = uuidv7(systemClock);
    await spool.append({
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
  }
};
await Promise.all(Array.from({ length: 8 }, caller));
