import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

export interface Import {
  readonly from: string;
  readonly line: number;
  /** Path below the root for a file of ours, else the package or node: module. */
  readonly to: string;
  readonly typeOnly: boolean;
  readonly text: string;
}

// `import … from 'x'`, `export … from 'x'`, `import 'x'` and `import('x')`; clauses may span lines.
const statement = /^[ \t]*(import|export)\b([^'"`;]*?\bfrom\s*)?\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]/gm;

/** Every import of every TypeScript file under `folder`, in order. */
export function readImports(root: string, folder: string): Import[] {
  return sourceFiles(join(root, folder)).flatMap((path) => importsOf(root, path, readFileSync(path, 'utf8')));
}

export function importsOf(root: string, path: string, source: string): Import[] {
  const imports: Import[] = [];
  for (const match of source.matchAll(statement)) {
    const specifier = match[3] ?? match[4] ?? '';
    imports.push({
      from: relative(root, path),
      line: source.slice(0, match.index).split('\n').length,
      to: specifier.startsWith('.') ? relative(root, resolve(dirname(path), specifier)) : specifier,
      typeOnly: isTypeOnly(match[2] ?? ''),
      text: match[0].trim().replaceAll(/\s+/g, ' '),
    });
  }
  return imports;
}

function isTypeOnly(clause: string): boolean {
  const trimmed = clause.trim();
  if (/^type\b(?!\s*,|\s*from\b)/.test(trimmed)) return true;
  const named = /^\{([^}]*)\}\s*from$/.exec(trimmed)?.[1];
  if (named === undefined) return false;
  const names = named
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
  return names.length > 0 && names.every((name) => name.startsWith('type '));
}

function sourceFiles(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && /\.tsx?$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

/** Import cycles by value, each as the list of files on it. */
export function findCycles(imports: readonly Import[]): string[][] {
  const edges = new Map<string, string[]>();
  for (const i of imports) if (!i.typeOnly) edges.set(i.from, [...(edges.get(i.from) ?? []), i.to]);
  const cycles: string[][] = [];
  const done = new Set<string>();
  const visit = (file: string, path: string[]) => {
    const start = path.indexOf(file);
    if (start !== -1) {
      cycles.push([...path.slice(start), file]);
      return;
    }
    if (done.has(file)) return;
    for (const next of edges.get(file) ?? []) visit(next, [...path, file]);
    done.add(file);
  };
  for (const file of edges.keys()) visit(file, []);
  return cycles;
}
