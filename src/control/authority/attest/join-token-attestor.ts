import { AppError } from '../../../base/errors.ts';
import type { JoinTokens } from './join-token.ts';
import type { Attestation, Attested, Attestor } from './method.ts';

/**
 * The simplest proof: a secret that an operator made for this one node (S5). It works once, so the node renews from then on;
 * whoever lost the certificate needs a new token. The payload is the token, UTF-8.
 */
export class JoinTokenAttestor implements Attestor {
  readonly method = 'join_token';
  readonly #tokens: Pick<JoinTokens, 'find' | 'use' | 'restore'>;

  constructor(tokens: Pick<JoinTokens, 'find' | 'use' | 'restore'>) {
    this.#tokens = tokens;
  }

  /** Throws `join-token-refused`; `forbidden` for a token of the other kind, which stays as it is. */
  async attest({ payload, agent }: Attestation): Promise<Attested> {
    const { id, entry } = await this.#tokens.find(payload.toString('utf8'));
    if (agent !== (entry === undefined)) {
      throw new AppError(
        'forbidden',
        agent
          ? 'This join token is for a workload, not for an agent. Make one for an agent: writ join-token create --agent'
          : 'This join token is for an agent, not for a workload. Make one for an entry: writ join-token create NAMESPACE/SERVICE',
      );
    }
    return {
      subject: `join_token:${id}`,
      ...(entry === undefined ? { agentPath: [id] } : { entry }),
      selectors: [`join_token:id:${id}`],
      canReattest: false,
      claim: this.#tokens.use(id),
      release: this.#tokens.restore(id),
    };
  }
}
