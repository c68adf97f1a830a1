import type { Socket } from 'node:net';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import type { Watch } from '../../base/watch.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import { MAX_ATTEST_BYTES, MAX_REQUEST_BYTES } from '../../wire/limits.ts';
import { auditService, enrollmentService, healthService, identityService, policyService } from '../../wire/loader.ts';
import { auditHandlers } from './audit-service.ts';
import type { CallContext } from './calls.ts';
import { SwappedCredentials } from './credentials.ts';
import { enrollmentHandlers } from './enrollment-service.ts';
import { hardenedServer } from './hardened-server.ts';
import { Health } from './health-service.ts';
import { identityHandlers } from './identity-service.ts';
import type { GrpcLimits } from './limits.ts';
import { defaultLimits, serverOptions } from './limits.ts';
import { listen } from './listener.ts';
import { NodeGate } from './node-gate.ts';
import { Peers } from './peer.ts';
import { policyHandlers } from './policy-service.ts';
import { RateLimit } from './rate-limit.ts';
import { tolerant } from './receive.ts';
import { RootRemoval } from './root-removal.ts';
import type { ServerIdentity, Services } from './services.ts';

export interface GrpcServerOptions {
  readonly host: string;
  /** 0 for any that is free. */
  readonly port: number;
  readonly identity: Watch<ServerIdentity>;
  readonly bundle: Watch<TrustBundle>;
  readonly services: Services;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly limits?: Partial<GrpcLimits>;
}

export interface GrpcServer {
  readonly port: number;
  /** Health says so first, then streams end with `unavailable`, then connections are closed, at last by force. */
  close(): Promise<void>;
}

const serviceNames = ['writ.v1.Enrollment', 'writ.v1.Identity', 'writ.v1.Policy', 'writ.v1.Audit'];

/** The gRPC face of the control plane: TLS 1.3, Enrollment and Health for anybody, the rest for our own workloads. */
export async function startGrpcServer(options: GrpcServerOptions): Promise<GrpcServer> {
  const { clock, logger, services } = options;
  const limits: GrpcLimits = { ...defaultLimits, ...options.limits };
  const stopping = new AbortController();
  const peers = new Peers({ bundle: options.bundle, clock });
  const gate = new NodeGate({ nodes: services.nodes, clock });
  const streams = new RateLimit({ perSecond: limits.streamsPerSecond, burst: limits.streamBurst, clock });
  const context: CallContext = { peers, gate, streams, logger, stopping: stopping.signal };
  const health = new Health(serviceNames);

  const server = hardenedServer(serverOptions(limits));
  const shared = { clock, limits };
  server.addService(
    tolerant(enrollmentService, MAX_ATTEST_BYTES),
    enrollmentHandlers(context, services.enrollment, shared),
  );
  server.addService(tolerant(identityService, MAX_REQUEST_BYTES), identityHandlers(context, services, shared));
  server.addService(tolerant(policyService, MAX_REQUEST_BYTES), policyHandlers(context, services.policy, shared));
  server.addService(tolerant(auditService, MAX_REQUEST_BYTES), auditHandlers(context, services.audit, shared));
  server.addService(tolerant(healthService, MAX_REQUEST_BYTES), health.handlers);

  const { identity, bundle } = options;
  const credentials = new SwappedCredentials({
    identity,
    bundle,
    handshakeTimeoutMs: limits.handshakeTimeoutMs,
    logger,
  });
  const connections = new RootRemoval({
    bundle,
    open: () => server.createConnectionInjector(credentials),
    graceMs: limits.stopGraceMs,
    clock,
    logger,
  });
  const { host, port, maxConnections } = { ...options, ...limits };
  const onConnection = (socket: Socket) => connections.inject(socket);
  const listener = await listen({ host, port, maxConnections, onConnection });
  logger.info({ host, port: listener.port }, 'gRPC is served');

  let closing: Promise<void> | undefined;
  const close = async () => {
    connections.close();
    const ended = listener.stop();
    health.stop();
    stopping.abort();
    // Tells every connection to end when its calls have. When it has told them it calls back, not when they have ended.
    server.tryShutdown(() => undefined);
    const cancel = clock.after(limits.stopGraceMs, () => listener.cut());
    await ended;
    cancel();
    credentials.close();
  };
  return {
    port: listener.port,
    close: () => {
      closing ??= close();
      return closing;
    },
  };
}
