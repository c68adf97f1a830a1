import type { Watch } from '../../../base/watch.ts';
import { WatchSource } from '../../../base/watch.ts';
import type { PolicySet } from '../current.ts';
import type { Stages } from './stages.ts';

/**
 * The request authentications that are in force for anybody: those of the policies, and those of the change that is rolled out.
 * Their keys have to be fetched before the first sidecar is asked to verify with them.
 */
export class WithCandidate {
  readonly #watch: WatchSource<Pick<PolicySet, 'requestAuthentications'>>;
  readonly #unsubscribe: readonly (() => void)[];

  constructor(policies: Watch<PolicySet>, stages: Pick<Stages, 'current'>) {
    const look = () => {
      const puts = stages.current.current?.overlay.puts ?? [];
      const comes = puts.flatMap((put) => (put.kind === 'RequestAuthentication' ? [put.object] : []));
      const { requestAuthentications } = policies.current;
      return {
        requestAuthentications: comes.length === 0 ? requestAuthentications : [...requestAuthentications, ...comes],
      };
    };
    this.#watch = new WatchSource(look());
    const changed = () => this.#watch.set(look());
    this.#unsubscribe = [policies.subscribe(changed), stages.current.subscribe(changed)];
  }

  get current(): Watch<Pick<PolicySet, 'requestAuthentications'>> {
    return this.#watch;
  }

  close(): void {
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
  }
}
