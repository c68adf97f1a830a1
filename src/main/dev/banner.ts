import { quote } from '../../cli/curl.ts';
import type { Style } from '../../cli/style.ts';
import { NAMESPACE } from './demo.ts';
import type { Ports } from './ports.ts';
import { LOOPBACK, serviceNames } from './ports.ts';

export interface BannerFacts {
  readonly version: string;
  readonly ports: Ports;
  readonly traffic: boolean;
  /** As the user would write them. */
  readonly tokenFile: string;
  readonly bundleFile: string;
  /** Where the agent serves the Workload API, and who the user is there; undefined without an agent. */
  readonly agent: { readonly socket: string; readonly user: string } | undefined;
  readonly logs: string;
  /** The CLI finds this control plane by itself. */
  readonly found: boolean;
  /** From the command to serving. */
  readonly seconds: number;
}

/** What runs, where, and what to try next. */
export function banner(facts: BannerFacts, style: Style): string {
  const { ports } = facts;
  const rest = `http://${LOOPBACK}:${ports.rest}`;
  return `${[
    '',
    `${style.bold(`Writ ${facts.version}`)}: a mesh of three services, up in ${facts.seconds.toFixed(1)} s. ${style.yellow('For trying out, not for production.')}`,
    '',
    `  page and REST  ${rest}`,
    `  gRPC (mTLS)    ${LOOPBACK}:${ports.grpc}`,
    `  health         http://${LOOPBACK}:${ports.health}/readyz`,
    ...(facts.agent === undefined
      ? ['  Workload API   none: an agent needs Linux to tell who calls']
      : [
          `  Workload API   SPIFFE_ENDPOINT_SOCKET=unix://${facts.agent.socket}`,
          `                 you are ${facts.agent.user}`,
        ]),
    `  admin token    ${facts.tokenFile}`,
    `  trust bundle   ${facts.bundleFile}`,
    `  logs           ${facts.logs}`,
    '',
    ...serviceTable(ports, style),
    '',
    'Try in another terminal:',
    ...nextCommands(facts).map((command) => `  ${style.bold(command)}`),
    '',
    facts.traffic
      ? 'Calls as they are recorded (Ctrl-C stops everything):'
      : 'No traffic by itself; your calls are shown here (Ctrl-C stops everything):',
  ].join('\n')}\n`;
}

function serviceTable(ports: Ports, style: Style): readonly string[] {
  const row = (cells: readonly string[]) =>
    `  ${cells
      .map((cell) => cell.padEnd(16))
      .join('')
      .trimEnd()}`;
  return [
    style.dim(row(['SERVICE', 'APPLICATION', 'OUTBOUND', 'INBOUND (mTLS)', 'SIDECAR ADMIN'])),
    ...serviceNames.map((name) => {
      const { application, outbound, inbound, admin } = ports.services[name];
      return row([
        `${NAMESPACE}/${name}`,
        ...[application, outbound, inbound, admin].map((port) => `${LOOPBACK}:${port}`),
      ]);
    }),
  ];
}

/** Three that work as they stand: a call that is denied, the rule that would decide it, and its record. */
export function nextCommands(facts: Pick<BannerFacts, 'ports' | 'tokenFile' | 'found'>): readonly string[] {
  const context = facts.found
    ? ''
    : ` --addr http://${LOOPBACK}:${facts.ports.rest} --token-file ${quote(facts.tokenFile)}`;
  const writ = `npm run -s writ --${context}`;
  return [
    `curl -i -H 'Host: payments.${NAMESPACE}.mesh' http://${LOOPBACK}:${facts.ports.services.web.outbound}/`,
    `${writ} policy check --from ${NAMESPACE}/web --to ${NAMESPACE}/payments --method GET --path /`,
    `${writ} audit search --decision deny`,
  ];
}
