import type { Entry } from '../entries/entry.ts';
import type { Claim } from '../nodes/node-rows.ts';

/** What came with an attestation. All of it is attacker-controlled but the address. */
export interface Attestation {
  /** What the method needs to begin with; at most 16 KiB. */
  readonly payload: Buffer;
  /** Whether the caller asks for the identity of an agent, or else for that of a workload. */
  readonly agent: boolean;
  /** PKCS #10, DER, its signature verified: what a method signs over should cover it. */
  readonly csr: Buffer;
  /** Asks the caller something and resolves with its answer, at most 16 KiB. Rejects when it goes away or takes too long. */
  challenge(question: Buffer): Promise<Buffer>;
  /** Network address of the caller. */
  readonly source: string;
}

/** What an attestation has proved. */
export interface Attested {
  /**
   * What the method knows the caller by, the method's name in front: `x509pop:<fingerprint>`. Stable: whoever attests as the
   * same subject is the same node, and a ban holds for the subject.
   */
  readonly subject: string;
  /** Of an agent: the segments of its SPIFFE ID behind `/writ/agent/<method>/`. */
  readonly agentPath?: readonly string[];
  /** Of a workload whose proof names its entry. Without it, the entry is found by the selectors. */
  readonly entry?: Entry;
  /** `<type>:<value>`. Only what was verified. */
  readonly selectors: readonly string[];
  /** Whether the caller can prove the same again at any time; then it does so instead of renewing (S6). */
  readonly canReattest: boolean;
  /** Takes part in the transaction that lets the node in: uses up what can be used once. It may throw, and run several times. */
  readonly claim?: Claim;
  /** Takes `claim` back, when the node never got its certificate. */
  readonly release?: Claim;
}

/**
 * A way to prove what one is: the plug-in point of attestation. Whoever adds one (a TPM, the identity document of a cloud)
 * implements this, and hands it to `Enrollment`; nothing else has to change.
 *
 * The rules: everything in `Attestation` is attacker-controlled, so cap before parsing; verify before you believe; take trust anchors
 * from the configuration, never from the caller; put into `selectors` only what was verified; give the same machine the same
 * `subject` each time and no other machine ever the same; never log payloads. It is called concurrently. It holds no state that
 * matters: what can be used only once is used up in `claim`, so that one of many replicas wins.
 */
export interface Attestor {
  /** Lower case, digits and underscores; part of selectors and of SPIFFE IDs of agents. */
  readonly method: string;
  /**
   * @throws AppError `invalid` for what is malformed, `forbidden` for what does not prove anything, `unavailable` when it cannot
   *   be told now. Messages are sent to the caller: they tell an honest one how to mend it, and an attacker nothing.
   */
  attest(attestation: Attestation): Promise<Attested>;
}
