import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, onTestFinished } from 'vitest';
import { silentLogger } from '../../src/base/log.ts';
import { WatchSource } from '../../src/base/watch.ts';
import { spiffeBundle } from '../../src/core/identity/bundle.ts';
import { parseSpiffeBundle } from '../../src/core/identity/spiffe-bundle.ts';
import { startBundleEndpoint } from '../../src/edge/federation/bundle-endpoint.ts';
import { bundleFetcher } from '../../src/edge/federation/fetch-bundle.ts';
import { createTestAuthority } from '../support/pki.ts';
import { tempDirectory } from '../support/temp.ts';
import { makeWebCertificate } from '../support/web-certificate.ts';
import { Foreign, itUnless, missingPrograms } from './foreign.ts';

const unavailable = missingPrograms('INTEROP_GO_CLIENTS', 'federation');
const program = join(process.env.INTEROP_GO_CLIENTS ?? '', 'federation');
const CONTROL_PLANE = 'spiffe://example.org/writ/control-plane';

/** go-spiffe's federation client and handler, as a program of a few lines calls them. */
describe("go-spiffe's federation", () => {
  const ours = createTestAuthority();

  async function serve(pem: { cert: string; key: string }): Promise<string> {
    const bundle = new WatchSource({ ...ours.bundle, sequence: 12 });
    const tls = new WatchSource(pem);
    const endpoint = await startBundleEndpoint({ host: '127.0.0.1', port: 0, bundle, tls, logger: silentLogger });
    onTestFinished(() => endpoint.close());
    return `https://127.0.0.1:${endpoint.port}/`;
  }

  async function fetched(...args: readonly string[]): Promise<unknown> {
    const client = new Foreign(program, ['fetch', 'example.org', ...args]);
    onTestFinished(() => client.stop());
    expect(await client.exit, client.output).toBe(0);
    return JSON.parse(client.output);
  }

  itUnless(unavailable, 'G10: its client takes our bundle by https_web and by https_spiffe', async () => {
    const directory = await tempDirectory();
    const web = await makeWebCertificate();
    await writeFile(join(directory, 'ca.pem'), web.cert);
    await writeFile(join(directory, 'bundle.json'), JSON.stringify(spiffeBundle(ours.bundle)));
    const expected = { spiffe_sequence: 12, spiffe_refresh_hint: 300, keys: expect.any(Array) };
    const byWeb = await fetched(await serve(web), 'web', join(directory, 'ca.pem'));
    expect(byWeb).toMatchObject(expected);
    const url = await serve(ours.issue(CONTROL_PLANE).pem);
    const bySpiffe = await fetched(url, 'spiffe', CONTROL_PLANE, join(directory, 'bundle.json'));
    expect(bySpiffe).toEqual(byWeb);
    // What it has made of it is what we serve.
    const read = parseSpiffeBundle(JSON.stringify(bySpiffe), 'example.org');
    expect(read).toMatchObject({ roots: ours.bundle.roots, ignored: [] });
    expect(read.jwks.keys.map((key) => key.kid)).toEqual([ours.jwt.kid]);
  });

  itUnless(unavailable, 'G10: we take the bundle that its handler serves', async () => {
    const directory = await tempDirectory();
    const web = await makeWebCertificate();
    const partner = createTestAuthority({ trustDomain: 'partner.example' });
    const files = {
      'bundle.json': JSON.stringify(spiffeBundle({ ...partner.bundle, sequence: 3 })),
      'tls.crt': web.cert,
      'tls.key': web.key,
    };
    for (const [name, text] of Object.entries(files)) await writeFile(join(directory, name), text, { mode: 0o600 });
    const paths = Object.keys(files).map((name) => join(directory, name));
    const server = new Foreign(program, ['serve', 'partner.example', ...paths]);
    onTestFinished(() => server.stop());
    const port = (await server.printed(/port (\d+)/))[1];
    const fetch = bundleFetcher({ now: Date.now });
    const trust = { kind: 'web', caCertificates: web.cert } as const;
    const document = await fetch(`https://127.0.0.1:${port}/`, trust, new AbortController().signal);
    expect(parseSpiffeBundle(document, 'partner.example')).toMatchObject({
      sequence: 3n,
      roots: partner.bundle.roots,
      ignored: [],
    });
  });
});
