import { stringify } from 'yaml';
import type { Column } from './table.ts';
import { table } from './table.ts';
import type { World } from './world.ts';

/** All that lists of objects are written in; a command may know fewer. */
export const formats = ['table', 'wide', 'json', 'yaml', 'name'] as const;
export type Format = (typeof formats)[number];

/** How the objects of one kind are shown. */
export interface View<T> {
  readonly columns: readonly Column<T>[];
  /** `policy/shop/orders`: what another command takes. */
  name(item: T): string;
  /** The object as a user would write it; the object of the API if not given. */
  yaml?(item: T): string;
}

/** A list of objects. With `json` and `yaml` they are exactly those of the API. */
export function printList<T>(world: World, format: Format, view: View<T>, items: readonly T[]): void {
  switch (format) {
    case 'table':
    case 'wide': {
      const columns = view.columns.filter((column) => format === 'wide' || column.wide !== true);
      if (items.length === 0) world.stderr('Nothing found.\n');
      else world.stdout(table(columns, items, world.clock.now()));
      return;
    }
    case 'json':
      world.stdout(`${JSON.stringify({ items }, null, 2)}\n`);
      return;
    case 'yaml':
      world.stdout(items.map((item) => yamlOf(view, item)).join('---\n'));
      return;
    case 'name':
      world.stdout(items.map((item) => `${view.name(item)}\n`).join(''));
      return;
  }
}

/** One object. */
export function printOne<T>(world: World, format: Format, view: View<T>, item: T): void {
  if (format === 'json') world.stdout(`${JSON.stringify(item, null, 2)}\n`);
  // Byte for byte: what comes out is what went in, a missing last newline included.
  else if (format === 'yaml' && view.yaml !== undefined) world.stdout(view.yaml(item));
  else printList(world, format, view, [item]);
}

function yamlOf<T>(view: View<T>, item: T): string {
  const text = view.yaml?.(item) ?? stringify(item);
  return text.endsWith('\n') ? text : `${text}\n`;
}
