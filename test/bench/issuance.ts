import { systemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/log.ts';
import { Authority } from '../../src/control/authority/authority.ts';
import { MemoryKeyStore } from '../../src/control/authority/keys/key-store.ts';
import { createCsr } from '../../src/core/identity/csr.ts';
import { generateKeyPair } from '../../src/core/identity/keys.ts';
import { workloadId } from '../../src/core/identity/spiffe-id.ts';
import type { SignVerify } from './reference.ts';
import { median, perCoreSecond, ROUNDS } from './reference.ts';
import type { Row } from './report.ts';
import { rate } from './report.ts';

/** X.509-SVIDs (request verified, certificate built, signed, checked) and JWT-SVIDs, per second on one core. */
export async function benchIssuance(openssl: SignVerify): Promise<Row[]> {
  const authority = await Authority.open({
    trustDomain: 'example.org',
    keyStore: new MemoryKeyStore(),
    clock: systemClock,
    logger: silentLogger,
  });
  const id = workloadId('example.org', 'shop', 'web');
  const csrs = Array.from({ length: 64 }, () => createCsr(generateKeyPair().privateKey));
  let n = 0;
  const x509 = perCoreSecond(() => {
    authority.issue({ id, instanceId: 'bench', csr: csrs[n++ % csrs.length] ?? Buffer.alloc(0) });
  }, 2000);
  const jwt = await jwtPerSecond(authority);
  const both = 1 / (1 / openssl.signPerSecond + 1 / openssl.verifyPerSecond);
  return [
    rate(
      'X.509-SVID: request verified, signed, checked',
      x509,
      '/s',
      { name: `${openssl.name}: sign + verify`, figure: both },
      '≥ 0.5',
    ),
    rate('JWT-SVID: signed', jwt, '/s', { name: `${openssl.name}: sign`, figure: openssl.signPerSecond }, '≥ 0.5'),
  ];
}

async function jwtPerSecond(authority: Authority): Promise<number> {
  const id = workloadId('example.org', 'shop', 'web');
  const sign = () => authority.signJwt({ id, audience: ['https://billing.example'] });
  // As a server does it: many requests under way at once. The first until all of it is compiled.
  const rounds: number[] = [];
  for (const count of [40_000, ...Array<number>(ROUNDS).fill(20_000)]) {
    const before = process.cpuUsage();
    for (let i = 0; i < count; i += 50) await Promise.all(Array.from({ length: 50 }, sign));
    const { user, system } = process.cpuUsage(before);
    rounds.push((count * 1e6) / (user + system));
  }
  return median(rounds.slice(1));
}
