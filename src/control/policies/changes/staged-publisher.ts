import type { Watch } from '../../../base/watch.ts';
import { WatchSource } from '../../../base/watch.ts';
import type { PolicySet } from '../current.ts';
import type { Publisher } from '../publisher.ts';
import type { Published } from '../snapshots.ts';
import { overlaid } from './overlay.ts';
import type { Stage, Stages } from './stages.ts';
import { isChosen } from './stages.ts';

/** What is published, where that may be one thing for some sidecars and another for the rest. */
export interface StagedPublished extends Published {
  /** What it is for one sidecar. Absent: the same for all. */
  of?(instanceId: string): Published;
}

export interface StagedPublisherOptions {
  readonly policies: Watch<PolicySet>;
  readonly stages: Pick<Stages, 'current' | 'release'>;
  /** Makes a publisher of these policies, with everything else the same. */
  readonly publisher: (policies: Watch<PolicySet>) => Publisher;
}

/** A publisher of the policies with a change that is rolled out. */
interface Candidate {
  readonly change: number;
  readonly policies: WatchSource<PolicySet>;
  readonly publisher: Publisher;
  readonly unsubscribe: () => void;
}

/**
 * Publishes the policies, and, while a change is rolled out, the policies with that change for the sidecars that were chosen. There
 * are two publishers then, each of which knows nothing of the other; what a sidecar gets is the same value of one of them.
 */
export class StagedPublisher {
  readonly #options: StagedPublisherOptions;
  readonly #base: Publisher;
  readonly #current: WatchSource<StagedPublished>;
  readonly #unsubscribe: readonly (() => void)[];
  #candidate: Candidate | undefined;

  constructor(options: StagedPublisherOptions) {
    const { policies, stages, publisher } = options;
    this.#options = options;
    this.#base = publisher(policies);
    this.#follow(stages.current.current);
    this.#current = new WatchSource(this.#build());
    this.#unsubscribe = [
      this.#base.current.subscribe(() => this.#publish()),
      policies.subscribe(() => this.#overlay(stages.current.current)),
      stages.current.subscribe((stage) => {
        this.#follow(stage);
        this.#publish();
      }),
    ];
  }

  get current(): Watch<StagedPublished> {
    return this.#current;
  }

  /** Whether the change that is rolled out makes a difference to this workload. */
  concerns(spiffeId: string, labels: Readonly<Record<string, string>>): boolean {
    if (this.#candidate === undefined) return false;
    const before = this.#base.current.current.for(spiffeId, labels);
    return !this.#candidate.publisher.current.current.for(spiffeId, labels).hash.equals(before.hash);
  }

  close(): void {
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    this.#drop();
    this.#base.close();
  }

  #publish(): void {
    const stage = this.#options.stages.current.current;
    // Its documents are among the policies that are published: nobody needs the candidate any more.
    const isOver = (stage?.appliedRevision ?? Number.POSITIVE_INFINITY) <= this.#base.current.current.revision;
    if (stage !== undefined && isOver) this.#options.stages.release(stage);
    else this.#current.set(this.#build());
  }

  #build(): StagedPublished {
    const base = this.#base.current.current;
    const stage = this.#options.stages.current.current;
    const candidate = this.#candidate?.publisher.current.current;
    if (stage === undefined || candidate === undefined) return base;
    const { revision, bundleSequence, publishedAt } = base;
    return Object.freeze({
      ...{ revision, bundleSequence, publishedAt },
      for: (spiffeId: string, labels: Readonly<Record<string, string>>) => base.for(spiffeId, labels),
      of: (instanceId: string) => (isChosen(stage, instanceId) ? candidate : base),
    });
  }

  /** A change begins to be rolled out, goes on, or ends. */
  #follow(stage: Stage | undefined): void {
    if (this.#candidate !== undefined && this.#candidate.change !== stage?.change) this.#drop();
    if (stage === undefined) return;
    if (this.#candidate !== undefined) {
      this.#overlay(stage);
      return;
    }
    const policies = new WatchSource(this.#overlaid(stage));
    const publisher = this.#options.publisher(policies);
    const unsubscribe = publisher.current.subscribe(() => this.#publish());
    this.#candidate = { change: stage.change, policies, publisher, unsubscribe };
  }

  #overlay(stage: Stage | undefined): void {
    if (stage !== undefined) this.#candidate?.policies.set(this.#overlaid(stage));
  }

  #overlaid(stage: Stage): PolicySet {
    const { current } = this.#options.policies;
    // Not below what anybody has seen, and not what those have who do not have the candidate.
    return overlaid(current, stage.overlay, Math.max(current.revision, stage.rollout.stepRevision));
  }

  #drop(): void {
    this.#candidate?.unsubscribe();
    this.#candidate?.publisher.close();
    this.#candidate = undefined;
  }
}
