import 'reflect-metadata';
import { chmod, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { X509Certificate as Peculiar } from '@peculiar/x509';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../../../src/base/errors.ts';
import type { MintOrder, UpstreamAuthority } from '../../../../src/control/authority/keys/upstream.ts';
import { DiskUpstream } from '../../../../src/control/authority/keys/upstream-disk.ts';
import { certificatePem, fingerprint } from '../../../../src/core/identity/bundle.ts';
import { verifyPeer } from '../../../../src/core/identity/chain.ts';
import { FakeClock } from '../../../support/clock.ts';
import { expectAppError } from '../../../support/errors.ts';
import { hasOpenssl, openssl, opensslNote } from '../../../support/openssl.ts';
import { createTestAuthority } from '../../../support/pki.ts';
import { tempDirectory } from '../../../support/temp.ts';
import { admin, authorityWorld, csr, day, hour, run, web } from '../authorities-world.ts';

const CA = 'basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n';

/** A house's own authority, made by openssl: a root, and below it an authority that is given to Writ. */
async function house(o: { readonly algorithm?: readonly string[]; readonly extensions?: string } = {}) {
  const directory = await tempDirectory();
  const file = (name: string) => join(directory, name);
  const run = (...args: string[]) => {
    const { status, output } = openssl(args);
    if (status !== 0) throw new Error(output);
  };
  const algorithm = o.algorithm ?? ['ec', '-pkeyopt', 'ec_paramgen_curve:P-384'];
  await writeFile(file('ca.ext'), `${o.extensions ?? CA}authorityKeyIdentifier=keyid\n`);
  await writeFile(file('root.cnf'), `[req]\ndistinguished_name=dn\nx509_extensions=v3\n[dn]\n[v3]\n${CA}`);
  for (const name of ['root', 'issuer']) run('genpkey', '-algorithm', ...algorithm, '-out', file(`${name}.key`));
  run(
    'req',
    '-x509',
    '-new',
    '-key',
    file('root.key'),
    '-subj',
    '/O=House/CN=House root',
    '-days',
    '3650',
    '-config',
    file('root.cnf'),
    '-out',
    file('root.pem'),
  );
  run(
    'req',
    '-new',
    '-key',
    file('issuer.key'),
    '-subj',
    '/O=House/CN=House issuer',
    '-config',
    file('root.cnf'),
    '-out',
    file('issuer.csr'),
  );
  run(
    'x509',
    '-req',
    '-in',
    file('issuer.csr'),
    '-CA',
    file('root.pem'),
    '-CAkey',
    file('root.key'),
    '-days',
    '1000',
    '-extfile',
    file('ca.ext'),
    '-out',
    file('issuer.pem'),
  );
  for (const name of ['root', 'issuer']) await chmod(file(`${name}.key`), 0o600);
  const upstream = (
    more: { readonly certificate?: string; readonly key?: string; readonly root?: string | undefined } = {},
  ) =>
    new DiskUpstream({
      trustDomain: 'example.org',
      certificateFile: file(more.certificate ?? 'issuer.pem'),
      keyFile: file(more.key ?? 'issuer.key'),
      rootFile: 'root' in more ? (more.root === undefined ? undefined : file(more.root)) : file('root.pem'),
    });
  return { file, upstream, directory };
}

/** openssl and the control plane must agree on the time. */
const world = () => authorityWorld({ clock: new FakeClock(Date.now() + 60_000) });

describe.skipIf(!hasOpenssl)(`an upstream authority on disk ${opensslNote}`, () => {
  it.each([
    ['ECDSA P-384', ['ec', '-pkeyopt', 'ec_paramgen_curve:P-384']],
    ['RSA', ['rsa', '-pkeyopt', 'rsa_keygen_bits:2048']],
  ])('(%s) signs our intermediate, and openssl and Writ verify what hangs below it', async (_name, algorithm) => {
    const { upstream, file } = await house({ algorithm });
    const w = world();
    const { authority } = await w.replica({ upstream: upstream() });
    const bundle = authority.bundle.current;
    expect(bundle.roots).toHaveLength(1);
    const svid = authority.issue({ id: web, instanceId: 'i-1', csr });
    expect(svid.chain).toHaveLength(3);
    expect(verifyPeer(svid.chain, bundle, { now: w.clock.now() }).id).toEqual(web);
    expect(verifyPeer(authority.serverIdentity.current.chain, bundle, { now: w.clock.now() }).id.path).toBe(
      '/writ/control-plane',
    );
    const [leaf = Buffer.alloc(0), ...above] = svid.chain;
    await writeFile(file('leaf.pem'), certificatePem(leaf));
    await writeFile(file('above.pem'), above.map(certificatePem).join(''));
    const args = [
      'verify',
      '-x509_strict',
      '-attime',
      String(Math.floor(w.clock.now() / 1000)),
      '-CAfile',
      file('root.pem'),
    ];
    const verdict = openssl([...args, '-untrusted', file('above.pem'), file('leaf.pem')]);
    expect(verdict.output).toMatch(/leaf.pem: OK/);
    const [ours, issuer] = above.map((der) => new Peculiar(new Uint8Array(der)));
    expect(await ours?.verify({ publicKey: issuer?.publicKey ?? '', signatureOnly: true } as never)).toBe(true);
    // No root key of our own.
    expect((await w.keyStore.names()).map((name) => name.split('-')[0]).sort()).toEqual(['jwt', 'wit']);
  });

  it('may be a root itself', async () => {
    const { upstream } = await house();
    const { authority } = await world().replica({
      upstream: upstream({ certificate: 'root.pem', key: 'root.key', root: undefined }),
    });
    expect(authority.issue({ id: web, instanceId: 'i-1', csr }).chain).toHaveLength(2);
  });

  it('that has another root is followed: everybody learns of that first', async () => {
    const [one, two] = [await house(), await house()];
    const w = world();
    const replica = await w.replica({ upstream: one.upstream() });
    run(replica);
    const before = replica.authority.issue({ id: web, instanceId: 'i-1', csr, ttlSeconds: 86_400 });
    w.followers.behind = ['somebody'];
    for (const name of ['issuer.key', 'issuer.pem', 'root.pem']) await rename(two.file(name), one.file(name));
    const settle = async (done: () => Promise<boolean>) => {
      while (!(await done())) await w.clock.advance(1_000);
    };
    await settle(async () => (await w.states('x509')).includes('prepared'));
    await w.clock.advance(2 * hour);
    expect(await w.states('x509')).toEqual(['active', 'prepared']);
    expect(replica.authority.bundle.current.roots).toHaveLength(2);
    // What signs goes on signing: it was certified by the one before.
    expect(replica.authority.issue({ id: web, instanceId: 'i-1', csr }).chain[1]).toEqual(before.chain[1]);
    w.followers.behind = [];
    await settle(async () => (await w.states('x509')).includes('old'));
    await settle(
      async () =>
        !replica.authority
          .issue({ id: web, instanceId: 'i-1', csr })
          .chain.at(-1)
          ?.equals(before.chain.at(-1) ?? Buffer.alloc(0)),
    );
    const after = replica.authority.issue({ id: web, instanceId: 'i-1', csr });
    for (const svid of [before, after])
      verifyPeer(svid.chain, replica.authority.bundle.current, { now: w.clock.now() });
  });

  it('takes over from a root of our own, which stays trusted as long as it has to', async () => {
    const { upstream } = await house();
    const w = world();
    const own = await w.replica();
    const before = own.authority.issue({ id: web, instanceId: 'i-1', csr });
    const replica = await w.replica({ upstream: upstream() });
    await replica.rotation.tick();
    const [prepared] = await w.inState('x509', 'prepared');
    expect(prepared?.keyName).toBeNull();
    await replica.rotation.activate(prepared?.id ?? '', admin);
    const bundle = replica.authority.bundle.current;
    const after = replica.authority.issue({ id: web, instanceId: 'i-1', csr });
    expect(after.chain).toHaveLength(3);
    for (const svid of [before, after]) verifyPeer(svid.chain, bundle, { now: w.clock.now() });
    // The listener stays where everybody can verify it.
    expect(replica.authority.rootFingerprint).toBe(own.authority.rootFingerprint);
    await expectAppError(replica.rotation.prepare('x509', admin), 'conflict', /root is that of the upstream authority/);
    // And without the upstream, nothing can sign once the intermediate has ended.
    await expectAppError(
      w.replica({ upstream: undefined as never }).then(({ authority }) => {
        expect(authority.problems.join()).toMatch(/upstream authority, and none is configured/);
        throw new AppError('conflict', 'it goes on with the old root');
      }),
      'conflict',
      /old root/,
    );
  });

  it('whose files do not fit is refused, with what is wrong', async () => {
    const { upstream, file } = await house();
    const refused = (
      o: Parameters<typeof upstream>[0],
      why: RegExp,
      code: 'incompatible-data' | 'unavailable' | 'usage' = 'incompatible-data',
    ) => expectAppError(upstream(o).root(), code, why);
    await refused({ key: 'root.key' }, /it is not the key to .*issuer.pem/);
    await refused({ root: undefined }, /leads to no root/);
    await refused(
      { certificate: 'nowhere.pem' },
      /Cannot read the upstream authority .*nowhere.pem: ENOENT/,
      'unavailable',
    );
    await refused({ key: 'nowhere.key' }, /nowhere.key is missing/, 'unavailable');
    await refused({ certificate: 'ca.ext' }, /has no certificate/);
    await refused({ key: 'ca.ext' }, /can be read by others/, 'usage');
    await writeFile(file('bad.key'), 'hello', { mode: 0o600 });
    await refused({ key: 'bad.key' }, /no PEM key/);
    const leaf = createTestAuthority().issue('spiffe://example.org/a');
    await writeFile(file('leaf.pem'), leaf.pem.cert);
    await writeFile(file('leaf-root.pem'), leaf.pem.ca);
    await refused(
      { certificate: 'leaf.pem', root: 'leaf-root.pem' },
      /not an authority|no authority|is not an X509-SVID/,
    );
  });

  it('that may have no authority below it, or is limited in names, is refused', async () => {
    const short = await house({ extensions: CA.replace('CA:true', 'CA:true,pathlen:0') });
    await expectAppError(short.upstream().root(), 'incompatible-data', /path length/);
    const named = await house({ extensions: `${CA}nameConstraints=critical,permitted;DNS:example.org\n` });
    await expectAppError(named.upstream().root(), 'incompatible-data', /critical extension/);
  });
});

describe('an upstream authority', () => {
  const real = createTestAuthority({ now: Date.now() });
  const root = real.root.certificate;
  const upstreamThat = (mint: (order: MintOrder) => Promise<readonly Buffer[]>): UpstreamAuthority => ({
    root: async () => root,
    mint,
  });

  it('S12: whose answer does not verify below its root is not used', async () => {
    const other = createTestAuthority({ now: Date.now() });
    for (const answer of [[], [root], [other.issuer.certificate], [real.issuer.certificate]]) {
      await expectAppError(
        world().replica({ upstream: upstreamThat(async () => answer) }),
        'incompatible-data',
        /No intermediate below the root/,
      );
    }
  });

  it('S12: that certifies our key below another root than it says is not used', async () => {
    const { createIntermediate } = await import('../../../../src/core/identity/ca.ts');
    const other = createTestAuthority({ now: Date.now() });
    const upstream = upstreamThat(async (order) => [createIntermediate({ ...order, root: other.root })]);
    await expectAppError(world().replica({ upstream }), 'incompatible-data', /does not verify below the root/);
  });

  it('that is away keeps what is there signing until it ends, and is among the problems', async () => {
    const { createIntermediate } = await import('../../../../src/core/identity/ca.ts');
    let isAway = false;
    const w = world();
    const upstream = upstreamThat(async (order) => {
      if (isAway) throw new AppError('unavailable', 'connection refused');
      return [createIntermediate({ ...order, root: real.root })];
    });
    const replica = await w.replica({ upstream });
    run(replica);
    isAway = true;
    await w.clock.advance(20 * hour);
    expect(replica.authority.problems.join()).toMatch(/sha256:[0-9a-f]{64}: connection refused/);
    expect(replica.authority.issue({ id: web, instanceId: 'i-1', csr }).chain).toHaveLength(2);
    isAway = false;
    await w.clock.advance(60_000);
    expect(replica.authority.problems).toEqual([]);
    expect(fingerprint(root)).toBe(replica.authority.rootFingerprint);
    await w.clock.advance(day);
    verifyPeer(replica.authority.issue({ id: web, instanceId: 'i-1', csr }).chain, real.bundle, { now: w.clock.now() });
  });
});
