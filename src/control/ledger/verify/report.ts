import type { DiskProblem } from '../../../core/audit/disk-findings.ts';

/** One byte that was changed is one problem; a disk that is destroyed is more than anybody reads. */
const MAX_PROBLEMS = 1000;

/** What is found while a disk is read. */
export class DiskReport {
  readonly #problems: DiskProblem[] = [];
  readonly #remarks: string[] = [];
  #more = 0;

  problem(problem: DiskProblem): void {
    if (this.#problems.length < MAX_PROBLEMS) this.#problems.push(Object.freeze(problem));
    else this.#more += 1;
  }

  remark(text: string): void {
    this.#remarks.push(text);
  }

  get problems(): readonly DiskProblem[] {
    return Object.freeze([...this.#problems]);
  }

  get remarks(): readonly string[] {
    const more = this.#more === 0 ? [] : [`${this.#more} more things differ`];
    return Object.freeze([...this.#remarks, ...more]);
  }
}
