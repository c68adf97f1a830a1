import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import type { Clock } from '../base/clock.ts';
import { readSecretFile, reason } from '../base/durable.ts';
import { AppError, unreachable } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { Lifetime } from '../base/tasks.ts';
import type { AdminTrail } from '../control/ledger/admin-trail.ts';
import type { Ledger } from '../control/ledger/ledger.ts';
import { toCef } from '../control/ledger/sinks/cef.ts';
import { openSinkMemory } from '../control/ledger/sinks/cursor.ts';
import { SinkFollower } from '../control/ledger/sinks/follower.ts';
import type { SinkItem } from '../control/ledger/sinks/item.ts';
import { toOcsf } from '../control/ledger/sinks/ocsf.ts';
import { toOtlp } from '../control/ledger/sinks/otlp.ts';
import { toPlainJson } from '../control/ledger/sinks/plain-json.ts';
import type { Sink } from '../control/ledger/sinks/sink.ts';
import { toSplunk } from '../control/ledger/sinks/splunk.ts';
import { toSyslog } from '../control/ledger/sinks/syslog.ts';
import { FileSink } from '../edge/sinks/file.ts';
import { OtlpSink } from '../edge/sinks/otlp-http.ts';
import { SplunkSink } from '../edge/sinks/splunk-hec.ts';
import { SyslogSink } from '../edge/sinks/syslog-tls.ts';
import { WebhookSink } from '../edge/sinks/webhook.ts';
import type { SinkConfig } from './sinks-config.ts';
import { isSafe } from './sinks-config.ts';

export interface SinksDeps {
  /** Of their positions. */
  readonly directory: string;
  readonly ledger: Pick<Ledger, 'read' | 'size'>;
  readonly trail: Pick<AdminTrail, 'report'>;
  readonly sealedBelow: () => number;
  readonly logOrigin: string;
  readonly trustDomain: string;
  readonly version: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** One follower for each sink that is configured. Throws `usage` for a file of a secret or certificate that cannot be used. */
export async function openSinks(
  configs: readonly SinkConfig[],
  deps: SinksDeps,
  life: Pick<Lifetime, 'defer'>,
): Promise<readonly SinkFollower[]> {
  const followers: SinkFollower[] = [];
  for (const config of configs) {
    const sink = await openSink(config, deps);
    life.defer(`the sink ${config.name}`, () => sink.close());
    const { name, type, from } = config;
    followers.push(
      new SinkFollower({
        ...{ name, type, from, sink },
        format: type === 'otlp' ? 'otlp' : config.format,
        guarantee: type === 'syslog' ? 'best-effort' : 'at-least-once',
        memory: await openSinkMemory(deps.directory, name),
        ...{ ledger: deps.ledger, trail: deps.trail, clock: deps.clock, logger: deps.logger },
      }),
    );
  }
  return Object.freeze(followers);
}

async function openSink(config: SinkConfig, deps: SinksDeps): Promise<Sink> {
  const { clock, version, trustDomain } = deps;
  const now = () => clock.now();
  const lines = linesOf(config, deps);
  const host = hostname();
  switch (config.type) {
    case 'file':
      return new FileSink({
        path: wanted(config.path, config, 'path'),
        encode: lines,
        ...(config.maxBytes !== undefined && { maxBytes: config.maxBytes }),
        now,
      });
    case 'webhook': {
      const secret = Buffer.from(await secretIn(config.secretFile, config, 'secretFile'), 'utf8');
      return new WebhookSink({ ...(await receiverOf(config)), encode: lines, secret, now });
    }
    case 'syslog': {
      const { host: to, port } = wanted(config.address, config, 'address');
      const encode = (item: SinkItem) => lines(item).map((line) => toSyslog(item, line, host));
      return new SyslogSink({ host: to, port, encode, ...(await trustOf(config)) });
    }
    case 'otlp': {
      const token =
        config.tokenFile === undefined ? {} : { token: await secretIn(config.tokenFile, config, 'tokenFile') };
      const encode = (items: readonly SinkItem[]) => toOtlp(items, { version, trustDomain });
      return new OtlpSink({ ...(await receiverOf(config)), encode, ...token });
    }
    case 'splunk': {
      const token = await secretIn(config.tokenFile, config, 'tokenFile');
      const sourcetype = `writ:${config.format}`;
      const encode = (item: SinkItem) => lines(item).map((line) => toSplunk(item, line, { host, sourcetype }));
      return new SplunkSink({
        ...(await receiverOf(config)),
        encode,
        token,
        channel: channelOf(config.name, deps),
        clock,
      });
    }
    default:
      return unreachable(config.type);
  }
}

function linesOf({ format }: SinkConfig, deps: SinksDeps): (item: SinkItem) => readonly string[] {
  const { version, trustDomain, logOrigin, sealedBelow } = deps;
  switch (format) {
    case 'ocsf':
      return (item) =>
        toOcsf(item, { version, trustDomain, logOrigin, sealedBelow: sealedBelow() }).map((event) =>
          JSON.stringify(event),
        );
    case 'json':
      return (item) => [toPlainJson(item)];
    case 'cef':
      return (item) => [toCef(item, { version })];
    default:
      return unreachable(format);
  }
}

/** A UUID that is the same after every start, and another one for every log and sink. */
function channelOf(name: string, { logOrigin }: SinksDeps): string {
  const hex = createHash('sha256').update(`${logOrigin}\n${name}`).digest('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

async function receiverOf(config: SinkConfig) {
  const written = config.url ?? (await secretIn(config.urlFile, config, 'urlFile'));
  if (!isSafe(written)) {
    throw new AppError('usage', `The sink ${config.name} needs an https URL; http is for a receiver on this machine.`);
  }
  return { url: new URL(written), ...(await trustOf(config)) };
}

async function trustOf(config: SinkConfig) {
  const { caFile, certificateFile, keyFile } = config;
  return {
    ...(caFile !== undefined && { ca: await textIn(caFile, config) }),
    ...(certificateFile !== undefined &&
      keyFile !== undefined && {
        client: { certificate: await textIn(certificateFile, config), key: await secretIn(keyFile, config, 'keyFile') },
      }),
  };
}

async function textIn(file: string, { name }: SinkConfig): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw new AppError('usage', `Cannot read ${file} for the sink ${name}: ${reason(cause)}.`, { cause });
  }
}

/** Without the end of its last line. Throws `usage` also for one that others can read. */
async function secretIn(file: string | undefined, config: SinkConfig, key: string): Promise<string> {
  const path = wanted(file, config, key);
  const text = (await readSecretFile(path))?.toString('utf8').trim();
  if (text === undefined || text === '') {
    throw new AppError('usage', `${path} (${key} of the sink ${config.name}) is missing or empty.`);
  }
  return text;
}

function wanted<T>(value: T | undefined, { name }: SinkConfig, key: string): T {
  if (value === undefined) throw new AppError('usage', `The sink ${name} needs ${key}.`);
  return value;
}
