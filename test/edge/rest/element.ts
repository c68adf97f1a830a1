/** Just enough of an element. Whatever could turn text into markup is not there, so touching it fails. */
export class FakeElement {
  textContent = '';
  title = '';
  className = '';
  readonly dataset: Record<string, string> = {};
  readonly children: FakeElement[] = [];
  parent: FakeElement | undefined;
  readonly name: string;
  hidden = false;
  value = '';
  readonly #listeners = new Map<string, (event: object) => void>();
  readonly #attributes = new Map<string, string>();
  constructor(name: string) {
    this.name = name;
    Object.seal(this);
  }
  addEventListener(type: string, listener: (event: object) => void) {
    this.#listeners.set(type, listener);
  }
  dispatch(type: string) {
    this.#listeners.get(type)?.({ preventDefault: () => undefined });
  }
  setAttribute(name: string, value: string) {
    if (!name.startsWith('aria-')) throw new Error(`${name} is not an attribute that text may go into`);
    this.#attributes.set(name, value);
  }
  focus() {
    // There is no focus to move.
  }
  /** The one child of a kind, made when it is first asked for. */
  querySelector(name: string): FakeElement {
    const found = this.children.find((child) => child.name === name);
    if (found !== undefined) return found;
    const child = new FakeElement(name);
    this.append(child);
    return child;
  }
  get tBodies(): FakeElement[] {
    return [this.querySelector('tbody')];
  }
  replaceChildren(...children: FakeElement[]) {
    this.children.length = 0;
    this.append(...children);
  }
  append(...children: FakeElement[]) {
    for (const child of children) child.parent = this;
    this.children.push(...children);
  }
  prepend(child: FakeElement) {
    child.parent = this;
    this.children.unshift(child);
  }
  remove() {
    const siblings = this.parent?.children ?? [];
    siblings.splice(siblings.indexOf(this), 1);
  }
  replaceWith(other: FakeElement) {
    const siblings = this.parent?.children ?? [];
    other.parent = this.parent;
    siblings.splice(siblings.indexOf(this), 1, other);
  }
  get text(): string[] {
    return this.children.length === 0 ? [this.textContent] : this.children.flatMap((child) => child.text);
  }
}
