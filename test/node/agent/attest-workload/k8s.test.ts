import { writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { AppError } from '../../../../src/base/errors.ts';
import { K8sAttestor } from '../../../../src/node/agent/attest-workload/k8s.ts';
import { podSelectors, readPods } from '../../../../src/node/agent/attest-workload/k8s-pods.ts';
import { FakeClock } from '../../../support/clock.ts';
import { expectAppError } from '../../../support/errors.ts';
import { createTestAuthority } from '../../../support/pki.ts';
import { tempDirectory } from '../../../support/temp.ts';
import { everything, processIn } from './proc.ts';

const ID = '5e884898'.repeat(8);
const UID = '2c48913c-b29f-11e7-9350-020968147796';
const inPod = processIn(
  `0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${UID.replaceAll('-', '_')}.slice/cri-containerd-${ID}.scope\n`,
);

/** What a kubelet 1.31 answers to `GET /pods`, less what has nothing to do with it. */
const recorded = {
  kind: 'PodList',
  apiVersion: 'v1',
  metadata: {},
  items: [
    {
      metadata: {
        name: 'web-7d4b9c6f5-x2x9l',
        generateName: 'web-7d4b9c6f5-',
        namespace: 'shop',
        uid: UID,
        labels: { app: 'web', 'app.kubernetes.io/name': 'web', 'pod-template-hash': '7d4b9c6f5' },
        annotations: { 'kubernetes.io/config.source': 'api' },
        ownerReferences: [
          {
            apiVersion: 'apps/v1',
            kind: 'ReplicaSet',
            name: 'web-7d4b9c6f5',
            uid: 'd2f5b1b0-0000-4000-8000-000000000001',
            controller: true,
          },
        ],
      },
      spec: {
        nodeName: 'node-1',
        serviceAccountName: 'web',
        containers: [{ name: 'web', image: 'registry.example.org/web:1.27' }],
      },
      status: {
        phase: 'Running',
        initContainerStatuses: [
          {
            name: 'setup',
            containerID: `containerd://${'1'.repeat(64)}`,
            image: 'busybox:1',
            imageID: '',
            ready: true,
          },
        ],
        containerStatuses: [
          {
            name: 'web',
            containerID: `containerd://${ID}`,
            image: 'registry.example.org/web:1.27',
            imageID: 'registry.example.org/web@sha256:aaaa',
            ready: true,
          },
        ],
      },
    },
    { metadata: { name: 'no-uid', namespace: 'shop' }, spec: {}, status: {} },
    {
      metadata: { name: 'pending', namespace: 'shop', uid: 'x' },
      spec: {},
      status: { containerStatuses: [{ name: 'a', containerID: '' }] },
    },
  ],
};

const selectors = [
  'k8s:ns:shop',
  'k8s:sa:web',
  'k8s:pod-name:web-7d4b9c6f5-x2x9l',
  `k8s:pod-uid:${UID}`,
  'k8s:node-name:node-1',
  'k8s:pod-label:app:web',
  'k8s:pod-label:app.kubernetes.io/name:web',
  'k8s:pod-label:pod-template-hash:7d4b9c6f5',
  'k8s:pod-owner:ReplicaSet:web-7d4b9c6f5',
  'k8s:pod-owner-uid:ReplicaSet:d2f5b1b0-0000-4000-8000-000000000001',
  'k8s:container-name:web',
  'k8s:container-image:registry.example.org/web:1.27',
  'k8s:container-image:registry.example.org/web@sha256:aaaa',
];

type Answer = (request: IncomingMessage, response: ServerResponse, times: number) => void;

async function kubelet(answer: Answer, o: { readonly tls?: boolean } = {}) {
  const directory = await tempDirectory();
  const tokenFile = join(directory, 'token');
  const caFile = join(directory, 'ca.crt');
  await writeFile(tokenFile, 'node-token\n');
  const clock = new FakeClock();
  const asked: IncomingMessage[] = [];
  const listener = (request: IncomingMessage, response: ServerResponse) => {
    asked.push(request);
    answer(request, response, asked.length);
  };
  const pem = createTestAuthority().issue('spiffe://example.org/kubelet', { dnsNames: ['node-1'] }).pem;
  await writeFile(caFile, pem.ca);
  const server = o.tls === true ? createServer({ cert: pem.cert, key: pem.key }, listener) : createHttpServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `${o.tls === true ? 'https' : 'http'}://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const make = (more: Partial<ConstructorParameters<typeof K8sAttestor>[0]> = {}) =>
    new K8sAttestor({ kubeletUrl: url, tokenFile, caFile, serverName: 'node-1', clock, timeoutMs: 500, ...more });
  return { asked, clock, tokenFile, make };
}

const list: Answer = (_, response) => void response.end(JSON.stringify(recorded));

describe('the k8s attestor', () => {
  it('finds the pod and the container, asking the kubelet over TLS with the token of the file', async () => {
    const { make, asked } = await kubelet(list, { tls: true });
    expect(await make().attest(inPod, everything)).toEqual(selectors);
    expect(asked.map(({ method, url, headers }) => [method, url, headers.authorization])).toEqual([
      ['GET', '/pods', 'Bearer node-token'],
    ]);
  });

  it('refuses a kubelet whose certificate is of another CA or for another name', async () => {
    const { make, asked } = await kubelet(list, { tls: true });
    const other = join(await tempDirectory(), 'other.crt');
    await writeFile(other, createTestAuthority().issue('spiffe://example.org/x').pem.ca);
    await expectAppError(
      make({ caFile: other }).attest(inPod, everything),
      'unavailable',
      /The kubelet cannot be reached \(/,
    );
    await expectAppError(
      make({ serverName: 'node-2' }).attest(inPod, everything),
      'unavailable',
      /ERR_TLS_CERT_ALTNAME_INVALID/,
    );
    expect(asked).toEqual([]);
    expect(await make({ caFile: undefined }).attest(inPod, everything)).toEqual(selectors);
  });

  it('waits for a pod that is not listed yet, for a while', async () => {
    const { make, asked, clock } = await kubelet((_, response, times) =>
      response.end(JSON.stringify(times < 3 ? { ...recorded, items: null } : recorded)),
    );
    const attested = make().attest(inPod, everything);
    while (asked.length < 3) await clock.advance(500);
    expect(await attested).toEqual(selectors);
  });

  it('gives up when the pod is never listed', async () => {
    const { make, asked, clock } = await kubelet((_, response) => response.end(JSON.stringify({ items: [] })));
    let over = false;
    const attested = expectAppError(
      make({ attempts: 3 }).attest(inPod, everything),
      'unavailable',
      'The kubelet lists no pod with the container 5e8848985e88 of the caller.',
    ).finally(() => {
      over = true;
    });
    while (!over) await clock.advance(500);
    await attested;
    expect(asked).toHaveLength(3);
  });

  it('stops asking when the caller has gone', async () => {
    const { make, clock } = await kubelet((_, response) => response.end(JSON.stringify({ items: [] })));
    const gone = new AbortController();
    const attested = expectAppError(
      make().attest(inPod, { ...everything, signal: gone.signal }),
      'unavailable',
      /went away/,
    );
    while (clock.pendingTimers === 0) await new Promise((resolve) => setImmediate(resolve));
    gone.abort();
    await attested;
  });

  it('asks once for many who come at the same time, and not again within two seconds', async () => {
    const { make, asked, clock } = await kubelet(list);
    const attestor = make();
    await Promise.all(Array.from({ length: 10 }, () => attestor.attest(inPod, everything)));
    expect(asked).toHaveLength(1);
    await attestor.attest(inPod, everything);
    expect(asked).toHaveLength(1);
    await clock.advance(2_000);
    await attestor.attest(inPod, everything);
    expect(asked).toHaveLength(2);
  });

  it('reads the token anew for each question, and says so when there is none', async () => {
    const { make, asked, tokenFile } = await kubelet(list);
    await writeFile(tokenFile, 'next');
    await make().attest(inPod, everything);
    expect(asked[0]?.headers.authorization).toBe('Bearer next');
    await expectAppError(
      make({ tokenFile: '/nonexistent/token' }).attest(inPod, everything),
      'unavailable',
      'Cannot read /nonexistent/token: ENOENT.',
    );
  });

  it.each([
    [403, 'The kubelet answered with status 403; the service account needs nodes/proxy.'],
    [500, 'The kubelet answered with status 500.'],
  ])('a kubelet that answers %i is unavailable', async (code, message) => {
    const { make } = await kubelet((_, response) => void response.writeHead(code).end());
    await expectAppError(make().attest(inPod, everything), 'unavailable', message);
  });

  it('a kubelet that answers with no list, or not at all, is unavailable', async () => {
    const { make } = await kubelet((_, response) => response.end('{"kind":"Status"}'));
    await expectAppError(make().attest(inPod, everything), 'unavailable', /no list of pods/);
    const silent = await kubelet(() => undefined);
    await expectAppError(
      silent.make().attest(inPod, everything),
      'unavailable',
      'The kubelet did not answer within 0.5 s.',
    );
  });

  it('has nothing to say of a process in no container, and asks nobody', async () => {
    const { make, asked } = await kubelet(list);
    expect(await make().attest(processIn('0::/system.slice/a.service\n'), everything)).toEqual([]);
    expect(asked).toEqual([]);
  });

  it('plain http, or no verification, is for loopback only', async () => {
    const o = { tokenFile: 't', caFile: 'c', clock: new FakeClock() };
    for (const kubeletUrl of [
      'http://10.0.0.1:10255',
      'ftp://127.0.0.1',
      'kubelet',
      'https://a/path',
      'https://u:p@a:1',
      'http://localhost.evil.test:1',
    ]) {
      await expectAppError(
        () => new K8sAttestor({ ...o, kubeletUrl }),
        'usage',
        /The address of the kubelet must be https/,
      );
    }
    await expectAppError(
      () => new K8sAttestor({ ...o, caFile: undefined, kubeletUrl: 'https://10.0.0.1:10250' }),
      'usage',
      /must be verified/,
    );
    for (const kubeletUrl of ['https://10.0.0.1:10250', 'https://[::1]:10250', 'http://[::1]:10255', 'https://node-1'])
      new K8sAttestor({ ...o, kubeletUrl });
  });
});

describe('the pods of a kubelet', () => {
  const pods = readPods(recorded);

  it('are found by container, init containers included, and only in the pod that the cgroup names', () => {
    expect(pods.find({ containerId: ID, podUid: UID })?.pod.name).toBe('web-7d4b9c6f5-x2x9l');
    expect(pods.find({ containerId: '1'.repeat(64), podUid: undefined })?.container.name).toBe('setup');
    expect(pods.find({ containerId: ID, podUid: UID.replace('2', '3') })).toBeUndefined();
    expect(pods.find({ containerId: ID, podUid: '0'.repeat(32) })?.pod.uid).toBe(UID);
    expect(pods.find({ containerId: 'f'.repeat(64), podUid: undefined })).toBeUndefined();
  });

  it('fuzz: any JSON is a list or refused, and gives only texts', () => {
    const value = fc.jsonValue();
    fc.assert(
      fc.property(value, value, value, (a, b, c) => {
        const pod = {
          metadata: { uid: 'u', namespace: 'n', name: 'm', labels: a, ownerReferences: b },
          spec: { serviceAccountName: c, nodeName: a },
          status: {
            containerStatuses: [{ name: 'c', containerID: `x://${ID}`, image: b, imageID: c }, a],
            initContainerStatuses: c,
          },
        };
        for (const body of [
          a,
          { items: a },
          { items: [a, b, c] },
          { items: [pod, { metadata: a, spec: b, status: c }] },
        ]) {
          try {
            const found = readPods(body).find({ containerId: ID, podUid: undefined });
            if (found === undefined) continue;
            for (const each of podSelectors(found.pod, found.container))
              if (/\p{Cc}/u.test(each)) throw new Error(each);
          } catch (error) {
            if (!(error instanceof AppError)) throw error;
          }
        }
      }),
      { numRuns: 300 },
    );
  });
});
