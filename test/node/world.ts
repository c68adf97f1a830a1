import { hash } from 'node:crypto';
import { onTestFinished } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { AppError } from '../../src/base/errors.ts';
import { silentLogger } from '../../src/base/log.ts';
import { WatchSource } from '../../src/base/watch.ts';
import { Ledger } from '../../src/control/ledger/ledger.ts';
import type { TrustBundle } from '../../src/core/identity/bundle.ts';
import { certificatePem, fingerprint } from '../../src/core/identity/bundle.ts';
import type { PeerIdentity } from '../../src/core/identity/chain.ts';
import { parseCsr } from '../../src/core/identity/csr.ts';
import { signJwtSvid } from '../../src/core/identity/jwt-svid.ts';
import { parseSpiffeId } from '../../src/core/identity/spiffe-id.ts';
import type { X509Svid } from '../../src/core/identity/x509-svid.ts';
import { issueX509Svid } from '../../src/core/identity/x509-svid.ts';
import type { Policy } from '../../src/core/policy/model.ts';
import type { Quarantine, Service } from '../../src/core/policy/snapshot.ts';
import type { GrpcServer } from '../../src/edge/grpc/server.ts';
import { startGrpcServer } from '../../src/edge/grpc/server.ts';
import type { Published, ServerIdentity } from '../../src/edge/grpc/services.ts';
import type { InboundEndpoint } from '../../src/wire/policy.ts';
import { encodeSnapshotContent } from '../../src/wire/policy.ts';
import { openGate } from '../support/open-gate.ts';
import type { TestAuthority } from '../support/pki.ts';
import { createTestAuthority, randomSerial } from '../support/pki.ts';
import { tempDirectory } from '../support/temp.ts';

/**
 * A control plane for the node's side of the wire: the real gRPC face over real TLS, with identities and policies that the
 * test holds in its hand.
 */

export const WEB = 'spiffe://example.org/ns/shop/sa/web';
export const ORDERS = 'spiffe://example.org/ns/shop/sa/orders';

const notHere = () => {
  throw new AppError('unavailable', 'Agents have a world of their own.');
};

export interface Acknowledgement {
  readonly spiffeId: string;
  readonly kind: 'connect' | 'ack' | 'nack' | 'quarantined' | 'goodbye' | 'lost';
  readonly revision?: number;
  readonly error?: string;
}

export class TestControlPlane {
  readonly authority: TestAuthority;
  readonly identity: WatchSource<ServerIdentity>;
  readonly published: WatchSource<Published>;
  readonly quarantine = new WatchSource<Quarantine>({ revision: 0, spiffeIds: [] });
  readonly tokens = new Map<string, string>();
  readonly heard: Acknowledgement[] = [];
  readonly endpoints = new Map<string, readonly InboundEndpoint[]>();
  readonly services: Service[] = [];
  /** Bundles of other trust domains. */
  federated: readonly TrustBundle[] = [];
  readonly renewals: string[] = [];
  policies: readonly Policy[] = [];
  /** Lifetime of certificates that are issued from now on. */
  ttlMs = 3_600_000;
  /** Tampers with content before it is hashed. */
  tamper: (content: Buffer) => Buffer = (content) => content;
  ledger: Ledger | undefined;
  #server: GrpcServer | undefined;
  #port = 0;
  #revision = 1;
  #directory: string | undefined;

  constructor(authority: TestAuthority = createTestAuthority()) {
    this.authority = authority;
    const svid = authority.issue(`spiffe://${authority.trustDomain}/writ/control-plane`);
    this.identity = new WatchSource<ServerIdentity>(svid);
    this.published = new WatchSource(this.#publish());
  }

  get address(): string {
    return `127.0.0.1:${this.#port}`;
  }

  get rootPem(): string {
    return this.authority.bundle.roots.map(certificatePem).join('');
  }

  get fingerprint(): string {
    return fingerprint(this.authority.bundle.roots[0] ?? Buffer.alloc(0));
  }

  /** Starts, or starts again on the same port and with the same ledger. */
  async start(): Promise<this> {
    this.#directory ??= await tempDirectory();
    this.ledger = await Ledger.open({ directory: this.#directory, clock: systemClock, logger: silentLogger });
    this.#server = await startGrpcServer({
      host: '127.0.0.1',
      port: this.#port,
      identity: this.identity,
      bundle: new WatchSource(this.authority.bundle),
      services: {
        nodes: openGate,
        enrollment: { attest: async ({ payload, csr }) => this.#attest(payload.toString(), csr) },
        identity: {
          renew: async (caller, csr) => this.#renew(caller, csr),
          signJwt: async (caller, { audience }) => {
            const { jwt } = this.authority;
            const token = await signJwtSvid({ id: caller.id, audience, ...jwt, now: Date.now(), ttlSeconds: 300 });
            return { ...token, spiffeId: caller.id.uri };
          },
          signX509: notHere,
          signWit: notHere,
        },
        agents: { connect: notHere },
        policy: {
          published: this.published,
          quarantine: this.quarantine,
          proxies: { connect: async (hello) => this.#connect(hello) },
          entries: { bySpiffeId: async () => ({ labels: {} }) },
          changes: new WatchSource(0),
        },
        audit: this.ledger,
      },
      clock: systemClock,
      logger: silentLogger,
      limits: { stopGraceMs: 100 },
    });
    this.#port = this.#server.port;
    onTestFinished(() => this.stop());
    return this;
  }

  async stop(): Promise<void> {
    await this.#server?.close();
    this.#server = undefined;
    await this.ledger?.close();
    this.ledger = undefined;
  }

  /** Publishes whatever `policies` and `services` hold now. */
  push(policies: readonly Policy[] = this.policies): number {
    this.policies = policies;
    this.#revision += 1;
    this.published.set(this.#publish());
    return this.#revision;
  }

  token(spiffeId: string): string {
    const token = `token-${this.tokens.size + 1}`;
    this.tokens.set(token, spiffeId);
    return token;
  }

  /** Resolves when a sidecar has said so. */
  async hear(wanted: Partial<Acknowledgement>): Promise<Acknowledgement> {
    for (;;) {
      const found = this.heard.find((each) =>
        Object.entries(wanted).every(([key, value]) => each[key as keyof Acknowledgement] === value),
      );
      if (found !== undefined) return found;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  #publish(): Published {
    const revision = this.#revision;
    const content = encodeSnapshotContent({
      policies: this.policies,
      services: this.services,
      bundle: this.authority.bundle,
      ...(this.federated.length > 0 && { federated: this.federated }),
    });
    return {
      revision,
      publishedAt: Date.now(),
      for: () => {
        const sent = this.tamper(content);
        return { hash: hash('sha256', sent, 'buffer'), content: sent };
      },
    };
  }

  #attest(token: string, csr: Buffer) {
    const spiffeId = this.tokens.get(token);
    if (spiffeId === undefined) throw new AppError('join-token-refused', 'The join token is not valid.');
    this.tokens.delete(token);
    const svid = this.#issue(spiffeId, `instance-of-${spiffeId.split('/').at(-1)}`, csr);
    return { svid, entry: { id: 'entry', spiffeId, labels: {} }, bundle: this.authority.bundle };
  }

  #renew(caller: PeerIdentity, csr: Buffer): X509Svid {
    this.renewals.push(caller.id.uri);
    return this.#issue(caller.id.uri, caller.instanceId, csr);
  }

  #issue(spiffeId: string, instanceId: string, csr: Buffer): X509Svid {
    return issueX509Svid(this.authority.issuer, {
      id: parseSpiffeId(spiffeId),
      instanceId,
      publicKey: parseCsr(csr),
      notBefore: Date.now() - 10_000,
      notAfter: Date.now() + this.ttlMs,
      serial: randomSerial(),
    });
  }

  #connect(hello: { spiffeId: string; inbound: readonly InboundEndpoint[] }) {
    const { spiffeId } = hello;
    this.endpoints.set(spiffeId, hello.inbound);
    this.heard.push({ spiffeId, kind: 'connect' });
    return {
      sent: () => undefined,
      ack: (revision: number) => this.heard.push({ spiffeId, kind: 'ack', revision }),
      nack: (revision: number, _hash: Buffer, error: string) =>
        this.heard.push({ spiffeId, kind: 'nack', revision, error }),
      quarantined: (revision: number) => this.heard.push({ spiffeId, kind: 'quarantined', revision }),
      close: async ({ goodbye }: { goodbye: boolean }) => {
        this.heard.push({ spiffeId, kind: goodbye ? 'goodbye' : 'lost' });
      },
    };
  }
}
