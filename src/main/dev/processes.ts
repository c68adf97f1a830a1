import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Client } from '../../cli/client.ts';
import type { ChildSpec } from './child.ts';
import { TRUST_DOMAIN } from './demo.ts';
import type { DevDirectory } from './directory.ts';
import type { Ports, ServiceName } from './ports.ts';
import { LOOPBACK } from './ports.ts';
import { writeJoinToken } from './setup.ts';

/** What each process of the demo is started with: the same flags that anybody would use. */

/** Beside this file, in the language it runs in: source from a clone, JavaScript from a package. */
function script(name: string): string {
  return fileURLToPath(new URL(`${name}${extname(import.meta.url)}`, import.meta.url));
}

export function serverSpec(directory: DevDirectory, ports: Ports): ChildSpec {
  return {
    name: 'server',
    title: 'the control plane',
    command: () => [
      // docs/operations.md says why.
      '--max-semi-space-size=8',
      script('../cli'),
      'server',
      `--trust-domain=${TRUST_DOMAIN}`,
      `--data-dir=${directory.path}`,
      `--passphrase-file=${directory.passphraseFile}`,
      `--rest-listen=${LOOPBACK}:${ports.rest}`,
      `--grpc-listen=${LOOPBACK}:${ports.grpc}`,
      `--health-listen=${LOOPBACK}:${ports.health}`,
      '--audit-public',
      '--exit-with-parent',
    ],
  };
}

export function serviceSpec(name: ServiceName, ports: Ports, traffic: boolean): ChildSpec {
  const { application, outbound } = ports.services[name];
  return {
    name,
    title: `the service ${name}`,
    command: () => [
      script('./service'),
      `--name=${name}`,
      `--port=${application}`,
      `--outbound=${outbound}`,
      ...(traffic && name === 'web' ? ['--traffic'] : []),
    ],
  };
}

export function sidecarSpec(
  name: ServiceName,
  ports: Ports,
  directory: DevDirectory,
  client: Client,
  entryId: string,
): ChildSpec {
  const { application, inbound, outbound, admin } = ports.services[name];
  return {
    name: `sidecar-${name}`,
    title: `the sidecar of ${name}`,
    command: async () => {
      await writeJoinToken(client, directory, name, { entryId });
      return [
        script('../cli'),
        'sidecar',
        `--server=${LOOPBACK}:${ports.grpc}`,
        `--trust-bundle-file=${directory.bundleFile}`,
        `--state-dir=${directory.stateOf(name)}`,
        `--join-token-file=${directory.joinTokenOf(name)}`,
        `--inbound=listen=${LOOPBACK}:${inbound},application=${LOOPBACK}:${application}`,
        `--outbound-listen=${LOOPBACK}:${outbound}`,
        `--admin-listen=${LOOPBACK}:${admin}`,
        '--exit-with-parent',
      ];
    },
  };
}

export function agentSpec(ports: Ports, directory: DevDirectory, client: Client, socket: string): ChildSpec {
  return {
    name: 'agent',
    title: 'the agent',
    command: async () => {
      await writeJoinToken(client, directory, 'agent', { agent: true });
      return [
        script('../cli'),
        'agent',
        `--server=${LOOPBACK}:${ports.grpc}`,
        `--trust-bundle-file=${directory.bundleFile}`,
        `--state-dir=${directory.agent}`,
        `--join-token-file=${directory.joinTokenOf('agent')}`,
        `--socket=${socket}`,
        '--exit-with-parent',
      ];
    },
  };
}
