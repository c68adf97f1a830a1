import { AppError } from '../../../base/errors.ts';
import type { SecretsDeltaRequest, SecretsRequest, VersionedSecret } from '../../../wire/secret-requests.ts';
import { MAX_SECRET_NAMES } from '../../../wire/secret-requests.ts';
import type { Found, Resolution, Wanted } from './sds-names.ts';
import { versionOf } from './sds-names.ts';

/** Why a client did not take over what it was sent. */
export interface Refusal {
  readonly names: readonly string[];
  /** The client's own words. */
  readonly reason: string;
}

/** A response that is due. */
export interface Due {
  readonly version: string;
  readonly nonce: string;
  readonly secrets: readonly VersionedSecret[];
  /** Names that there is nothing for. Only an incremental stream can say so. */
  readonly removed: readonly string[];
}

/**
 * What one client is subscribed to and what it has: the rules of the protocol, without its transport. At most one response is
 * under way; what changes until the client has answered is sent then, in its latest state. What it refused is not sent again
 * until it is different: it would refuse it again, at once and for ever.
 */
export interface Subscription<Request> {
  /** Undefined before the first request. */
  readonly wanted: Wanted | undefined;
  /** @throws AppError `exhausted` when the client asks for too many names */
  receive(request: Request): Refusal | undefined;
  /** What is to be sent now; undefined for nothing. Whoever asks sends it. */
  respond(resolution: Resolution): Due | undefined;
}

/** The name of everything, in either protocol. */
const WILDCARD = '*';

/** State of the world: each request says all names, each response has all secrets that there are for them. */
export class WholeSubscription implements Subscription<SecretsRequest> {
  readonly #makeNonce: () => string;
  #names: ReadonlySet<string> = new Set();
  #everything = false;
  #plainRoots = false;
  #started = false;
  #hasNamed = false;
  /** Of the last response. */
  #nonce = '';
  #sentNames: readonly string[] = [];
  /** Version by name, of what the client is subscribed to. */
  readonly #sent = new Map<string, string>();
  #unanswered = false;

  constructor(makeNonce: () => string) {
    this.#makeNonce = makeNonce;
  }

  get wanted(): Wanted | undefined {
    if (!this.#started) return undefined;
    return { names: this.#names, everything: this.#everything, plainRoots: this.#plainRoots };
  }

  receive(request: SecretsRequest): Refusal | undefined {
    // An answer to what has been superseded: the answer to the last response is on its way, and says all names again.
    if (request.nonce !== '' && request.nonce !== this.#nonce) return undefined;
    const answers = request.nonce !== '' && this.#unanswered;
    if (answers) this.#unanswered = false;
    this.#started = true;
    this.#plainRoots = request.node?.plainRoots ?? this.#plainRoots;
    this.#subscribe(request.names);
    return answers && request.refusal !== undefined ? { names: this.#sentNames, reason: request.refusal } : undefined;
  }

  respond(resolution: Resolution): Due | undefined {
    if (!this.#started || this.#unanswered) return undefined;
    const found = [...resolution.found.values()];
    // That there is nothing cannot be said here: absence means "as before".
    if (found.length === 0) return undefined;
    // Names that are new to the subscription are among them, whether or not their content was sent under another name.
    if (found.every(({ name, version }) => this.#sent.get(name) === version)) return undefined;
    this.#unanswered = true;
    this.#nonce = this.#makeNonce();
    this.#sentNames = found.map(({ name }) => name);
    for (const { name, version } of found) this.#sent.set(name, version);
    return { version: wholeVersion(found), nonce: this.#nonce, secrets: found.map(encoded), removed: [] };
  }

  /** No name at all means everything, until the client has named one; from then on it means none. */
  #subscribe(names: readonly string[]): void {
    const everything = names.includes(WILDCARD) || (names.length === 0 && !this.#hasNamed);
    this.#hasNamed ||= names.length > 0;
    const named = new Set(names.filter((name) => name !== WILDCARD));
    this.#names = named;
    this.#everything = everything;
    if (everything) return;
    for (const name of [...this.#sent.keys()]) if (!named.has(name)) this.#sent.delete(name);
  }
}

/** Incremental: requests and responses say what is different. */
export class DeltaSubscription implements Subscription<SecretsDeltaRequest> {
  readonly #makeNonce: () => string;
  readonly #names = new Set<string>();
  #everything = false;
  #plainRoots = false;
  #started = false;
  #nonce = '';
  #sentNames: readonly string[] = [];
  #unanswered = false;
  /** Version by name: what the client was sent last, or said that it has. */
  readonly #sent = new Map<string, string>();
  /** Names that the client must be told about, even if it was told before. */
  readonly #owed = new Set<string>();

  constructor(makeNonce: () => string) {
    this.#makeNonce = makeNonce;
  }

  get wanted(): Wanted | undefined {
    if (!this.#started) return undefined;
    return { names: this.#names, everything: this.#everything, plainRoots: this.#plainRoots };
  }

  receive(request: SecretsDeltaRequest): Refusal | undefined {
    const had = this.#started ? new Map<string, string>() : this.#start(request);
    const answers = this.#unanswered && request.nonce !== '' && request.nonce === this.#nonce;
    if (answers) this.#unanswered = false;
    this.#plainRoots = request.node?.plainRoots ?? this.#plainRoots;
    // Also of an answer that comes late: the changes in it are said once only.
    for (const name of request.subscribe) this.#subscribe(name, had);
    for (const name of request.unsubscribe) this.#unsubscribe(name);
    return answers && request.refusal !== undefined ? { names: this.#sentNames, reason: request.refusal } : undefined;
  }

  respond({ found, pending }: Resolution): Due | undefined {
    if (!this.#started || this.#unanswered) return undefined;
    const news = [...found.values()].filter(
      ({ name, version }) => this.#owed.has(name) || this.#sent.get(name) !== version,
    );
    const gone = [...this.#sent.keys()].filter((name) => !found.has(name));
    const never = [...this.#owed].filter((name) => !found.has(name) && !pending.has(name));
    const removed = [...new Set([...gone, ...never])];
    if (news.length === 0 && removed.length === 0) return undefined;
    for (const { name, version } of news) {
      this.#owed.delete(name);
      this.#sent.set(name, version);
    }
    for (const name of removed) {
      this.#owed.delete(name);
      this.#sent.delete(name);
    }
    this.#unanswered = true;
    this.#nonce = this.#makeNonce();
    this.#sentNames = news.map(({ name }) => name);
    return { version: wholeVersion(news), nonce: this.#nonce, secrets: news.map(encoded), removed };
  }

  /** @returns what the client has of what it asks for */
  #start(request: SecretsDeltaRequest): ReadonlyMap<string, string> {
    this.#started = true;
    this.#everything = request.subscribe.length === 0;
    const everything = this.#everything || request.subscribe.includes(WILDCARD);
    for (const [name, version] of request.initialVersions) {
      if (everything || request.subscribe.includes(name)) this.#sent.set(name, version);
    }
    return this.#sent;
  }

  #subscribe(name: string, had: ReadonlyMap<string, string>): void {
    if (name === WILDCARD) {
      this.#everything = true;
      // Left and come back while a response was under way: what is in it will be kept after all, in whatever version.
      if (this.#unanswered) for (const each of this.#sentNames) if (!this.#sent.has(each)) this.#sent.set(each, '');
      return;
    }
    this.#names.add(name);
    if (this.#names.size > MAX_SECRET_NAMES) {
      throw new AppError('exhausted', `A stream can be subscribed to at most ${MAX_SECRET_NAMES} names.`);
    }
    if (!had.has(name)) this.#owed.add(name);
  }

  #unsubscribe(name: string): void {
    if (name === WILDCARD) {
      this.#everything = false;
      for (const each of [...this.#sent.keys()]) if (!this.#names.has(each)) this.#sent.delete(each);
      return;
    }
    if (!this.#names.delete(name)) return;
    this.#owed.delete(name);
    // The client forgets it, and still wants it as a part of everything.
    if (this.#everything) this.#owed.add(name);
    else this.#sent.delete(name);
  }
}

function encoded({ name, version, encode }: Found): VersionedSecret {
  return { name, version, secret: encode() };
}

function wholeVersion(found: readonly Found[]): string {
  const parts = found.map(({ name, version }) => `${version} ${name}`).sort();
  return versionOf(
    'response',
    parts.map((part) => Buffer.from(part)),
  );
}
