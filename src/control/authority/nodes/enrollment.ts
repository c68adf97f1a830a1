import { hash } from 'node:crypto';
import type { Clock } from '../../../base/clock.ts';
import { AppError, toAppError } from '../../../base/errors.ts';
import type { Logger } from '../../../base/log.ts';
import type { RandomBytes } from '../../../base/random.ts';
import { secureRandom, uuidv7 } from '../../../base/random.ts';
import type { Watch } from '../../../base/watch.ts';
import { agentId } from '../../../core/identity/agent-id.ts';
import type { TrustBundle } from '../../../core/identity/bundle.ts';
import { parseCsr } from '../../../core/identity/csr.ts';
import { isExpired } from '../../../core/identity/selectors.ts';
import type { SpiffeId } from '../../../core/identity/spiffe-id.ts';
import { isReserved, parseSpiffeId } from '../../../core/identity/spiffe-id.ts';
import type { Grant } from '../../../core/identity/workload-entry.ts';
import type { X509Svid } from '../../../core/identity/x509-svid.ts';
import type { IdentityFacts, Recorder } from '../../ledger/recorder.ts';
import type { QuarantineGate } from '../../policies/quarantine.ts';
import type { Attested, Attestor } from '../attest/method.ts';
import type { Entry } from '../entries/entry.ts';
import { lifetimeBy } from '../entries/entry-lifetime.ts';
import type { Caller, Node, Nodes } from './nodes.ts';

/** What enrollment and renewal need of the authority. */
export interface Issuing {
  issue(request: {
    readonly id: SpiffeId;
    readonly instanceId: string;
    readonly csr: Uint8Array;
    readonly ttlSeconds?: number;
    readonly dnsNames?: readonly string[];
  }): X509Svid;
}

export interface EnrollmentOptions {
  readonly authority: Issuing & {
    readonly trustDomain: string;
    readonly bundle: Watch<TrustBundle>;
    readonly lifetimes: { readonly x509Seconds: number };
  };
  /** Methods that may be used, each once. */
  readonly attestors: readonly Attestor[];
  readonly nodes: Pick<Nodes, 'admit' | 'retract' | 'refuseBanned' | 'current'>;
  /** What a workload that attests directly may have, in order, with the entry itself: `matchEntries` over the entries for that. */
  readonly grantsFor: (selectors: readonly string[]) => readonly DirectGrant[];
  /** Who is not let in. Default: nobody is kept out. */
  readonly quarantine?: QuarantineGate;
  readonly recorder: Recorder;
  readonly clock: Clock;
  readonly random?: RandomBytes;
  readonly logger: Logger;
}

export interface DirectGrant extends Omit<Grant, 'entry'> {
  readonly entry: Entry;
}

export interface AttestRequest {
  readonly method: string;
  /** Attacker-controlled, as `csr`. */
  readonly payload: Buffer;
  readonly csr: Buffer;
  /** Default false: a workload. */
  readonly agent?: boolean;
  /** Asks the caller something; without it, methods that ask are refused. */
  readonly challenge?: (question: Buffer) => Promise<Buffer>;
  /** Address of the caller, for the record. */
  readonly source?: string;
  /** Who the caller has proved to be already: a workload that attests again stays the instance that it is. */
  readonly caller?: Caller | undefined;
}

export interface Enrolled {
  readonly svid: X509Svid;
  /** Absent for an agent. */
  readonly entry?: {
    readonly id: string;
    readonly spiffeId: string;
    readonly labels: Readonly<Record<string, string>>;
  };
  readonly bundle: TrustBundle;
}

/** Who a caller turned out to be, before it gets a certificate. */
interface Candidate {
  readonly id: SpiffeId;
  readonly kind: Node['kind'];
  readonly instanceId: string;
  readonly entry: Entry | undefined;
}

/** The first identity of a node that has none: it proves what it is, is let in, and gets a certificate; all of it on the record. */
export class Enrollment {
  readonly #options: EnrollmentOptions;
  readonly #attestors: ReadonlyMap<string, Attestor>;

  constructor(options: EnrollmentOptions) {
    this.#options = options;
    this.#attestors = new Map(options.attestors.map((attestor) => [attestor.method, attestor]));
  }

  /**
   * Both grants and refusals are recorded; a grant durably before the certificate is returned.
   *
   * @throws AppError `invalid` for an unknown method or a malformed proof, `csr-refused`, `join-token-refused`, `forbidden` for a
   *   proof that is worth nothing, a banned node, or a workload without an entry; `unavailable` when it cannot be recorded
   */
  async attest(request: AttestRequest): Promise<Enrolled> {
    // What a refusal says about who was refused grows with what is found out.
    const facts: { -readonly [K in keyof IdentityFacts]?: IdentityFacts[K] } = {};
    try {
      return await this.#attest(request, facts);
    } catch (error) {
      await this.#recordRefusal(request, facts, error);
      throw error;
    }
  }

  async #attest(request: AttestRequest, facts: Partial<Mutable<IdentityFacts>>): Promise<Enrolled> {
    const attestor = this.#attestorOf(request.method);
    // First of all, its signature included (S7): a request that cannot be granted must not use up a join token.
    parseCsr(request.csr);
    const attested = await attestor.attest({
      payload: request.payload,
      agent: request.agent ?? false,
      csr: request.csr,
      challenge: request.challenge ?? noChallenge,
      source: request.source ?? '',
    });
    facts.selectors = attested.selectors;
    const candidate = this.#identify(request, attested);
    facts.subject = candidate.id.uri;
    facts.entry = candidate.entry?.id ?? '';
    facts.instance = candidate.instanceId;
    this.#options.quarantine?.refuse(candidate.id.uri);
    await this.#options.nodes.refuseBanned(attested.subject, candidate.id.uri);
    return await this.#letIn(request, attested, candidate);
  }

  #attestorOf(method: string): Attestor {
    const attestor = this.#attestors.get(method);
    if (attestor !== undefined) return attestor;
    const known = [...this.#attestors.keys()].join(', ');
    throw new AppError('invalid', `The attestation method is not enabled here. Enabled: ${known}.`);
  }

  /** Which identity the proof is worth. The SPIFFE ID is always ours to say, never the caller's. */
  #identify(request: AttestRequest, attested: Attested): Candidate {
    const { authority } = this.#options;
    if (request.agent === true) {
      if (attested.agentPath === undefined) throw notForAgents(request.method);
      const id = agentId(authority.trustDomain, request.method, ...attested.agentPath);
      // The same agent is the same instance, whatever it remembers of itself.
      return { id, kind: 'agent', instanceId: hash('sha256', id.uri, 'hex').slice(0, 32), entry: undefined };
    }
    const { entry, spiffeId } = this.#entryFor(attested);
    const id = parseSpiffeId(spiffeId);
    // An entry comes with its join token straight from the store: whatever stands there, no workload becomes an agent by it.
    if (isReserved(id)) throw new AppError('forbidden', 'The entry names an identity that is kept for Writ itself.');
    return { id, kind: 'workload', instanceId: this.#instanceOf(request, attested, id), entry };
  }

  #entryFor(attested: Attested): { readonly entry: Entry; readonly spiffeId: string } {
    if (attested.entry !== undefined) {
      const { entry } = attested;
      if (isExpired(entry, this.#options.clock.now())) throw new AppError('forbidden', 'The entry has expired.');
      return { entry, spiffeId: entry.spiffeId };
    }
    const [first] = this.#options.grantsFor(attested.selectors);
    if (first !== undefined) return first;
    const shown = attested.selectors.join(', ');
    throw new AppError(
      'forbidden',
      `No entry is for what attests directly with these selectors: ${shown}. Its parentId must be the control plane.`,
    );
  }

  /** A workload that attests again on a connection of its own certificate stays the instance that it is. */
  #instanceOf(request: AttestRequest, attested: Attested, id: SpiffeId): string {
    const { nodes, clock, random } = this.#options;
    const before = request.caller === undefined ? undefined : nodes.current(request.caller);
    if (before !== undefined && before.spiffeId === id.uri && before.subject === attested.subject) {
      return before.instanceId;
    }
    return uuidv7(clock, random ?? secureRandom);
  }

  async #letIn(request: AttestRequest, attested: Attested, candidate: Candidate): Promise<Enrolled> {
    const { authority, nodes, clock, logger } = this.#options;
    const { id, instanceId, entry } = candidate;
    const svid = authority.issue({
      id,
      instanceId,
      csr: request.csr,
      ...(entry !== undefined && lifetimeBy(entry, entry.x509TtlSeconds, authority.lifetimes.x509Seconds, clock.now())),
      ...(entry !== undefined && entry.dnsNames.length > 0 && { dnsNames: entry.dnsNames }),
    });
    await nodes.admit(
      {
        instanceId,
        spiffeId: id.uri,
        kind: candidate.kind,
        method: request.method,
        subject: attested.subject,
        entryId: entry?.id ?? null,
        selectors: attested.selectors,
        canReattest: attested.canReattest,
        serial: svid.serial,
        expiresAt: svid.notAfter,
      },
      attested.claim,
    );
    await this.#recordGrant(request, attested, candidate, svid);
    const { serial } = svid;
    logger.info({ spiffeId: id.uri, instanceId, serial, method: request.method, source: request.source }, 'attested');
    const { labels = {} } = entry ?? {};
    return {
      svid,
      ...(entry !== undefined && { entry: { id: entry.id, spiffeId: id.uri, labels } }),
      bundle: authority.bundle.current,
    };
  }

  /** What cannot be recorded is not issued: then it is as if nothing had been asked, the join token included. */
  async #recordGrant(request: AttestRequest, attested: Attested, candidate: Candidate, svid: X509Svid): Promise<void> {
    const { nodes, recorder, logger } = this.#options;
    try {
      await recorder.record({
        ...emptyFacts(request),
        outcome: 'granted',
        subject: candidate.id.uri,
        actor: candidate.id.uri,
        entry: candidate.entry?.id ?? '',
        instance: candidate.instanceId,
        serial: svid.serial,
        selectors: attested.selectors,
        expiresAt: svid.notAfter,
      });
    } catch (error) {
      await nodes
        .retract(candidate.instanceId, svid.serial, attested.release)
        .catch((cause: unknown) =>
          logger.error({ err: cause }, 'a node without a certificate could not be taken back'),
        );
      throw error;
    }
  }

  async #recordRefusal(request: AttestRequest, facts: Partial<IdentityFacts>, error: unknown): Promise<void> {
    const { recorder, logger } = this.#options;
    const { code, message } = toAppError(error);
    try {
      await recorder.record({ ...emptyFacts(request), ...facts, outcome: 'refused', reason: `${code}: ${message}` });
    } catch (cause) {
      // Refused it is all the same, and that is the safe side.
      logger.warn({ err: cause }, 'a refused attestation could not be recorded');
    }
  }
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

function emptyFacts(request: AttestRequest): Omit<IdentityFacts, 'outcome'> {
  return {
    action: 'attestation',
    subject: '',
    actor: '',
    entry: '',
    instance: '',
    serial: '',
    method: request.method,
    selectors: [],
    audience: [],
    expiresAt: 0,
    reason: '',
    source: request.source ?? '',
  };
}

function noChallenge(): Promise<Buffer> {
  throw new AppError('invalid', 'This caller cannot be asked anything.');
}

function notForAgents(method: string): AppError {
  return new AppError('forbidden', `What ${method} proves is no agent. Attest as a workload.`);
}
