import { unreachable } from '../../../base/errors.ts';
import type { RandomBytes } from '../../../base/random.ts';
import { joinTokenProver } from './join-token.ts';
import { tokenFileProver } from './token-file.ts';
import { x509popProver } from './x509pop.ts';

/** How this process proves to the control plane what it is. */
export type AttestationProof =
  /** A file (0600) with a join token, which works once. */
  | { readonly method: 'join_token'; readonly tokenFile: string }
  /** A certificate that somebody else gave this machine: PEM, leaf first; its key, PEM, in a file (0600). */
  | { readonly method: 'x509pop'; readonly certificateFile: string; readonly keyFile: string }
  /** A file with a projected service-account token, as the kubelet writes and refreshes it. */
  | { readonly method: 'k8s_psat'; readonly tokenFile: string }
  /** A file with a token of an OpenID provider; whoever runs the job refreshes it. */
  | { readonly method: 'oidc'; readonly tokenFile: string };

/** What is sent in one attestation. */
export interface Proof {
  readonly payload: Buffer;
  /** Answers the control plane's question. Absent: this method is asked none. */
  answer?(challenge: Buffer, context: { readonly trustDomain: string; readonly csr: Buffer }): Buffer;
}

/** Reads the material afresh each time: it is replaced while the process runs. */
export interface Prover {
  readonly method: AttestationProof['method'];
  /** Whether it can be done again; then it takes the place of renewing. */
  readonly repeatable: boolean;
  /** undefined while there is nothing to prove with. Throws `usage` for files that cannot be used. */
  read(): Promise<Proof | undefined>;
}

export function proverOf(proof: AttestationProof, random: RandomBytes): Prover {
  switch (proof.method) {
    case 'join_token':
      return joinTokenProver(proof.tokenFile);
    case 'x509pop':
      return x509popProver(proof, random);
    case 'k8s_psat':
    case 'oidc':
      return tokenFileProver(proof);
    default:
      return unreachable(proof);
  }
}
