import type { Clock } from '../../base/clock.ts';
import type { ProxyHello } from './hello.ts';

/**
 * One stream of a sidecar, as the edge tells it. Once a newer stream of the same instance has connected, everything said on
 * this one is ignored.
 */
export interface ProxyConnection {
  /** A snapshot was sent, with the trust bundle of that sequence in it. */
  sent(revision: number, hash: Buffer, bundleSequence?: number): void;
  /** The sidecar has put into force what was sent. */
  ack(revision: number, hash: Buffer): void;
  /** The sidecar could not use what was sent; it goes on with the last good one. */
  nack(revision: number, hash: Buffer, error: string): void;
  /** The sidecar has the quarantine of this revision in force. */
  quarantined(revision: number): void;
  /** The stream is over. With a goodbye its endpoints leave the mesh now, else when it stays away. Idempotent. */
  close(how: { readonly goodbye: boolean }): Promise<void>;
}

export type SyncState = 'synced' | 'pending' | 'rejected';

const MAX_ERROR_CHARACTERS = 4096;

interface Sent {
  readonly revision: number;
  readonly hash: Buffer;
  readonly bundleSequence: number;
}

/** What a sidecar has been sent and what it made of it. Lives as long as one stream. */
export class Acknowledgements {
  readonly #clock: Clock;
  #sent: Sent | undefined;
  #acknowledged: (Sent & { readonly at: number }) | undefined;
  #error: string | null = null;
  #behindSince: number | null = null;
  /** Of the quarantine that it has in force; null until it has said so. */
  quarantineRevision: number | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get state(): SyncState {
    if (this.#error !== null) return 'rejected';
    const isCurrent = this.#sent !== undefined && this.#acknowledged?.hash.equals(this.#sent.hash) === true;
    return isCurrent ? 'synced' : 'pending';
  }

  get revision(): number | null {
    return this.#acknowledged?.revision ?? null;
  }

  get at(): number | null {
    return this.#acknowledged?.at ?? null;
  }

  /** Of the trust bundle that it has in force; null until it has said so. */
  get bundleSequence(): number | null {
    return this.#acknowledged?.bundleSequence ?? null;
  }

  /** When it was sent what it has not put into force yet; null while it has everything that it was sent. */
  get behindSince(): number | null {
    return this.#behindSince;
  }

  get error(): string | null {
    return this.#error;
  }

  sent(revision: number, hash: Buffer, bundleSequence: number): void {
    this.#sent = { revision, hash, bundleSequence };
    this.#behindSince ??= this.#clock.now();
  }

  /** Counts only for what was sent last: a sidecar cannot acknowledge what it was never given. */
  ack(hash: Buffer): void {
    if (this.#sent === undefined || !this.#sent.hash.equals(hash)) return;
    this.#acknowledged = { ...this.#sent, at: this.#clock.now() };
    this.#error = null;
    this.#behindSince = null;
  }

  nack(hash: Buffer, error: string): void {
    if (this.#sent === undefined || !this.#sent.hash.equals(hash)) return;
    this.#error = error.length > MAX_ERROR_CHARACTERS ? `${error.slice(0, MAX_ERROR_CHARACTERS - 1)}…` : error;
  }
}

interface ConnectionEvents {
  /** A trust bundle of another sequence is in force there. */
  bundle(sequence: number): void;
  close(goodbye: boolean): Promise<void>;
}

/** A stream, and the connection that the edge holds. */
export class Connection implements ProxyConnection {
  readonly hello: ProxyHello;
  /** Milliseconds since the epoch. */
  readonly since: number;
  readonly acknowledgements: Acknowledgements;
  readonly #on: ConnectionEvents;
  #closing: Promise<void> | undefined;

  constructor(clock: Clock, hello: ProxyHello, on: ConnectionEvents) {
    this.hello = hello;
    this.since = clock.now();
    this.acknowledgements = new Acknowledgements(clock);
    this.#on = on;
  }

  sent(revision: number, hash: Buffer, bundleSequence = 0): void {
    this.acknowledgements.sent(revision, hash, bundleSequence);
  }

  ack(_revision: number, hash: Buffer): void {
    const before = this.acknowledgements.bundleSequence;
    this.acknowledgements.ack(hash);
    const { bundleSequence } = this.acknowledgements;
    if (bundleSequence !== null && bundleSequence !== before) this.#on.bundle(bundleSequence);
  }

  nack(_revision: number, hash: Buffer, error: string): void {
    this.acknowledgements.nack(hash, error);
  }

  quarantined(revision: number): void {
    this.acknowledgements.quarantineRevision = revision;
  }

  close(how: { readonly goodbye: boolean }): Promise<void> {
    this.#closing ??= this.#on.close(how.goodbye);
    return this.#closing;
  }
}
