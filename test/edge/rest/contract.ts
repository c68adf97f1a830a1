import type { LightMyRequestResponse } from 'fastify';
import { Compile } from 'typebox/schema';
import { expect } from 'vitest';

interface Operation {
  readonly security?: readonly unknown[];
  readonly responses: Readonly<
    Record<string, { readonly content?: Readonly<Record<string, { readonly schema: object }>> }>
  >;
}

/** An OpenAPI document, as what answers are held against. */
export class Contract {
  readonly #paths: {
    readonly pattern: RegExp;
    readonly path: string;
    readonly operations: Readonly<Record<string, Operation>>;
  }[];
  readonly #components: object;

  constructor(document: object) {
    const { paths, components } = document as { paths: Record<string, Record<string, Operation>>; components: object };
    this.#components = components;
    this.#paths = Object.entries(paths).map(([path, operations]) => ({
      path,
      operations,
      pattern: new RegExp(`^${path.replaceAll('.', '\\.').replace(/\{[^}]+\}/g, '[^/]+')}$`),
    }));
  }

  get operations(): { readonly method: string; readonly path: string; readonly operation: Operation }[] {
    return this.#paths.flatMap(({ path, operations }) =>
      Object.entries(operations).map(([method, operation]) => ({ method: method.toUpperCase(), path, operation })),
    );
  }

  /** Asserts that the document allows this answer, if it speaks of this path and method at all. */
  check(method: string, url: string, response: LightMyRequestResponse): void {
    const path = url.split('?', 1)[0] ?? '';
    const operations = this.#paths.find(({ pattern }) => pattern.test(path))?.operations;
    const operation = operations?.[method.toLowerCase()];
    if (operation === undefined) return;
    const said = operation.responses[String(response.statusCode)] ?? operation.responses.default;
    const type = String(response.headers['content-type'] ?? '').split(';', 1)[0] ?? '';
    if (response.payload === '') return;
    const content = said?.content?.[type];
    expect(content, `${method} ${path} may not answer ${response.statusCode} with ${type}`).toBeDefined();
    if (content === undefined || !type.endsWith('json')) return;
    const validator = Compile({ ...content.schema, components: this.#components });
    const [, errors] = validator.Errors(response.json());
    expect(errors, `${method} ${path} → ${response.statusCode} is not what the OpenAPI document says`).toEqual([]);
  }
}
