import { parseAllDocuments } from 'yaml';

/**
 * The labels of a policy itself (`metadata.labels`), by which lists choose; they decide nothing. The source has passed the
 * parser of policies, which bounds its size and depth and refuses aliases. What is not text is no label.
 */
export function labelsOf(source: string): Readonly<Record<string, string>> {
  for (const document of parseAllDocuments(source)) {
    const value: unknown = 'toJS' in document ? document.toJS({ maxAliasCount: 0 }) : undefined;
    if (!isRecord(value)) continue;
    const labels = isRecord(value.metadata) ? value.metadata.labels : undefined;
    if (!isRecord(labels)) return {};
    const texts = Object.entries(labels).filter((entry): entry is [string, string] => typeof entry[1] === 'string');
    return Object.fromEntries(texts);
  }
  return {};
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
