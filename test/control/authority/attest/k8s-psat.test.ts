import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../../../src/base/errors.ts';
import { silentLogger } from '../../../../src/base/log.ts';
import type { Cluster } from '../../../../src/control/authority/attest/k8s-psat.ts';
import { K8sPsatAttestor } from '../../../../src/control/authority/attest/k8s-psat.ts';
import { Kept } from '../../../../src/control/authority/attest/kept.ts';
import type { Attestation } from '../../../../src/control/authority/attest/method.ts';
import { parseJwks } from '../../../../src/control/authority/attest/token.ts';
import { FakeClock } from '../../../support/clock.ts';
import { expectAppError } from '../../../support/errors.ts';
import type { TestIssuer } from '../../../support/issuer.ts';
import { testIssuer } from '../../../support/issuer.ts';

const ISSUER = 'https://kubernetes.default.svc.cluster.local';
const AUDIENCE = 'writ';
const bound = {
  namespace: 'writ-system',
  node: { name: 'node-1', uid: '11111111-aaaa-bbbb-cccc-000000000001' },
  pod: { name: 'writ-agent-x7k2p', uid: '22222222-aaaa-bbbb-cccc-000000000002' },
  serviceaccount: { name: 'writ-agent', uid: '33333333-aaaa-bbbb-cccc-000000000003' },
};
const claims = { aud: [AUDIENCE], sub: 'system:serviceaccount:writ-system:writ-agent', 'kubernetes.io': bound };
const web = {
  ...claims,
  sub: 'system:serviceaccount:shop:web',
  'kubernetes.io': { ...bound, namespace: 'shop', serviceaccount: { name: 'web' }, pod: { name: 'web-0', uid: 'u-0' } },
};

function attestation(token: string, agent: boolean): Attestation {
  const challenge = () => Promise.reject(new Error('not asked'));
  return { payload: Buffer.from(token), agent, csr: Buffer.alloc(0), challenge, source: '10.0.0.1' };
}

async function start() {
  const clock = new FakeClock();
  const cluster = (name: string, issuer: TestIssuer): Cluster => ({
    name,
    issuer: ISSUER,
    audience: AUDIENCE,
    agents: ['writ-system/writ-agent'],
    keys: new Kept({ read: async () => parseJwks(issuer.jwks), what: 'keys', clock, logger: silentLogger }),
  });
  const prod = await testIssuer(ISSUER, () => clock.now());
  const stage = await testIssuer(ISSUER, () => clock.now(), 'key-2');
  const clusters = [cluster('stage', stage), cluster('prod', prod)];
  const attestor = new K8sPsatAttestor({ clusters, clock });
  const attest = async (token: string | Promise<string>, agent: boolean) =>
    attestor.attest(attestation(await token, agent));
  return { prod, stage, attestor, attest };
}

describe('A projected service-account token', () => {
  it('of an agent names it by cluster and node', async () => {
    const { prod, attest } = await start();
    expect(await attest(prod.sign(claims), true)).toEqual({
      subject: `k8s_psat:prod:node:${bound.node.uid}`,
      agentPath: ['prod', bound.node.uid],
      selectors: [
        'k8s_psat:cluster:prod',
        'k8s_psat:agent_ns:writ-system',
        'k8s_psat:agent_sa:writ-agent',
        'k8s_psat:agent_pod_name:writ-agent-x7k2p',
        `k8s_psat:agent_pod_uid:${bound.pod.uid}`,
        'k8s_psat:agent_node_name:node-1',
        `k8s_psat:agent_node_uid:${bound.node.uid}`,
      ],
      canReattest: true,
    });
  });

  it('without a node names the agent by its pod', async () => {
    const { prod, attest } = await start();
    const { node: _, ...withoutNode } = bound;
    const attested = await attest(prod.sign({ ...claims, 'kubernetes.io': withoutNode }), true);
    expect(attested).toMatchObject({
      subject: `k8s_psat:prod:pod:${bound.pod.uid}`,
      agentPath: ['prod', bound.pod.uid],
    });
    expect(attested.selectors.join()).not.toContain('node');
  });

  it('of a workload gives the selectors that an agent would find', async () => {
    const { prod, attest } = await start();
    expect(await attest(prod.sign(web), false)).toEqual({
      subject: 'k8s_psat:prod:pod:u-0',
      selectors: [
        'k8s_psat:cluster:prod',
        'k8s:ns:shop',
        'k8s:sa:web',
        'k8s:pod-name:web-0',
        'k8s:pod-uid:u-0',
        'k8s:node-name:node-1',
      ],
      canReattest: true,
    });
  });

  it('of a service account that may be no agent gets no agent’s identity', async () => {
    const { prod, attest } = await start();
    await expectAppError(attest(prod.sign(web), true), 'forbidden', /shop\/web is not one of those that may be agents/);
  });

  it('of clusters with one issuer name is told apart by its key', async () => {
    const { stage, attest } = await start();
    expect((await attest(stage.sign(claims), true)).agentPath).toEqual(['stage', bound.node.uid]);
  });

  it.each([
    ['that is not bound to a pod', { 'kubernetes.io': { ...bound, pod: undefined } }, /not bound to a pod/],
    ['of the old kind', { 'kubernetes.io': undefined, 'kubernetes.io/serviceaccount/namespace': 'x' }, /not bound/],
    ['without a service account', { 'kubernetes.io': { ...bound, serviceaccount: [] } }, /not bound to a pod/],
    [
      'whose pod is named oddly',
      { 'kubernetes.io': { ...bound, pod: { name: 'a:b', uid: 'u' } } },
      /as Kubernetes does/,
    ],
    ['whose uid is a path', { 'kubernetes.io': { ...bound, node: { name: 'n', uid: '../x' } } }, /as Kubernetes does/],
    ['of another subject', { sub: 'system:serviceaccount:shop:web' }, /not the service account that it is bound to/],
    ['for another audience', { aud: ['https://kubernetes.default.svc'] }, /not for the audience writ/],
    ['without an expiry', { exp: undefined }, /^The token has no exp\.$/],
    ['of another issuer', { iss: 'https://other' }, /not a cluster that is trusted here/],
  ] as const)('%s is refused', async (_what, change, message) => {
    const { prod, attest } = await start();
    await expectAppError(attest(prod.sign({ ...claims, ...change }), true), 'forbidden', message);
  });

  it('is refused or read whole, whatever the cluster says', async () => {
    const { prod, attest } = await start();
    const odd = fc.oneof(fc.constant(undefined), fc.jsonValue());
    const part = fc.record({ name: odd, uid: odd });
    const said = fc.oneof(
      odd,
      fc.record({ namespace: odd, pod: fc.oneof(odd, part), serviceaccount: part, node: part }),
    );
    await fc.assert(
      fc.asyncProperty(said, odd, async (value, sub) => {
        const token = prod.sign({ ...claims, 'kubernetes.io': value, sub });
        const outcome = await attest(token, false).catch((error: unknown) => error);
        expect(outcome).toBeInstanceOf(AppError);
        expect((outcome as AppError).code).toBe('forbidden');
      }),
      { numRuns: 100 },
    );
  });
});
