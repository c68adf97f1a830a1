import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { agentConfig } from '../../src/main/agent-config.ts';
import { expectAppError } from '../support/errors.ts';

const least = { server: '127.0.0.1:8444', 'trust-bundle-file': '/etc/writ/bundle.pem' };
const findings = async (flags: Record<string, string>) =>
  (await expectAppError(() => agentConfig({ flags, env: {} }), 'usage')).details.map(({ message }) => message);

describe('agent', () => {
  it('has safe defaults: a socket for everybody in a directory of its own, and an admin socket beside it', () => {
    expect(agentConfig({ flags: least, env: {} })).toEqual({
      server: '127.0.0.1:8444',
      trust: { bundleFile: '/etc/writ/bundle.pem' },
      trustDomain: undefined,
      stateDirectory: '/var/lib/writ-agent',
      socketPath: '/run/writ/agent.sock',
      socketMode: 0o777,
      adminSocketPath: '/run/writ/agent-admin.sock',
      proof: undefined,
      attestors: ['unix', 'systemd'],
      secretNames: { svid: 'default', bundle: 'ROOTCA', allBundles: 'ALL' },
      dockerSocketPath: '/var/run/docker.sock',
      kubelet: {
        url: 'https://127.0.0.1:10250',
        tokenFile: '/var/run/secrets/kubernetes.io/serviceaccount/token',
        caFile: '/var/run/secrets/kubernetes.io/serviceaccount/ca.crt',
        serverName: undefined,
      },
      logLevel: 'info',
    });
  });

  it('takes a socket as a path or as the URI that workloads are given', () => {
    const of = (socket: string) => agentConfig({ flags: { ...least, socket }, env: {} });
    expect(of('unix:///tmp/agent.sock')).toMatchObject({
      socketPath: '/tmp/agent.sock',
      adminSocketPath: '/tmp/agent-admin.sock',
    });
    expect(of('run/a.sock').socketPath).toBe(resolve('run/a.sock'));
  });

  it('knows which files each way of proving itself needs', async () => {
    const proof = (flags: Record<string, string>) => agentConfig({ flags: { ...least, ...flags }, env: {} }).proof;
    expect(proof({ 'join-token-file': '/t' })).toEqual({ method: 'join_token', tokenFile: '/t' });
    expect(
      proof({ 'attestation-method': 'x509pop', 'attestation-certificate-file': '/c', 'attestation-key-file': '/k' }),
    ).toEqual({
      method: 'x509pop',
      certificateFile: '/c',
      keyFile: '/k',
    });
    expect(proof({ 'attestation-method': 'oidc', 'attestation-token-file': '/t' })).toEqual({
      method: 'oidc',
      tokenFile: '/t',
    });
    expect(await findings({ ...least, 'attestation-method': 'k8s_psat' })).toEqual([
      '--attestation-token-file is missing: attestation.method k8s_psat needs it.',
    ]);
    expect(
      await findings({
        ...least,
        'attestation-method': 'oidc',
        'attestation-token-file': '/t',
        'join-token-file': '/j',
      }),
    ).toEqual(['--join-token-file is not for attestation.method oidc.']);
    expect(await findings({ ...least, 'attestation-key-file': '/k' })).toEqual([
      '--attestation-key-file is not for attestation.method join_token.',
    ]);
  });

  it('refuses names of secrets that cannot be told apart', async () => {
    const refused = [
      '--sds-svid-name and the other two: The names of secrets must differ, have 1 to 256 characters, and be neither * nor a SPIFFE ID.',
    ];
    expect(await findings({ ...least, 'sds-svid-name': 'ALL' })).toEqual(refused);
    expect(await findings({ ...least, 'sds-svid-name': 'spiffe://example.org' })).toEqual(refused);
    const { secretNames } = agentConfig({ flags: { ...least, 'sds-bundle-name': 'roots' }, env: {} });
    expect(secretNames).toEqual({ svid: 'default', bundle: 'roots', allBundles: 'ALL' });
  });

  it('refuses to trust on first use, to serve on TCP, and to find out nothing', async () => {
    expect(await findings({ server: '127.0.0.1:8444' })).toEqual([
      '--trust-bundle-file or trust.fingerprint is missing: the control plane is never trusted on first use.',
    ]);
    expect(await findings({ ...least, socket: 'tcp://127.0.0.1:8000' })).toEqual([
      '--socket must be a Unix socket: callers on TCP cannot be told from one another.',
    ]);
    expect(await findings({ ...least, socket: 'unix://host/x' })).toEqual([
      expect.stringMatching(/^--socket must not have a host/),
    ]);
    expect(await findings({ ...least, socket: '/a', 'admin-socket': '/a' })).toEqual([
      '--admin-socket is the same as socket. Give each its own.',
    ]);
    expect(await findings({ ...least, 'socket-mode': '755' })).toEqual([
      expect.stringMatching(/--socket-mode must be/),
    ]);
  });
});
