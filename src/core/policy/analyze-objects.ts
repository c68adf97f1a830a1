import type { AnalysisContext } from './analyze.ts';
import type { PolicyFinding, PolicyWarningCode } from './findings.ts';
import { quoted } from './findings.ts';
import { titleOf } from './kinds.ts';
import type { ParsedDocument } from './parse.ts';
import type { RateLimit } from './rate-limit.ts';
import { selects } from './selects.ts';

/** An object of another kind than AuthorizationPolicy, and where it stands. */
export type AnalyzedObject = Exclude<ParsedDocument, { readonly kind: 'AuthorizationPolicy' }> & {
  readonly file?: string | undefined;
};

/** As `analyze`, of the kinds beside policies: whom they are for and whom they name, held against who exists. */
export function analyzeObjects(
  objects: readonly AnalyzedObject[],
  { workloads, rootNamespace }: AnalysisContext,
): readonly PolicyFinding[] {
  if (workloads === undefined) return [];
  const known = new Set(workloads.map(({ principal }) => principal));
  return objects.flatMap((at) => {
    const found: PolicyFinding[] = [];
    if (!workloads.some((workload) => selects(at.object, workload, rootNamespace))) {
      const title = titleOf({ kind: at.kind, namespace: at.object.namespace, name: at.object.name });
      found.push(warning('selects-nothing', at, `No workload is one that the ${title} is for, so it does nothing.`));
    }
    for (const text of at.kind === 'RateLimit' ? strangers(at.object, known) : []) {
      const message = `No workload has the identity ${quoted(text)}. Is it written as in its entry?`;
      found.push(warning('unknown-identity', at, message));
    }
    return found;
  });
}

/** Callers that overrides name in full, in the trust domain of those who exist, and who are not among them. */
function strangers({ overrides }: RateLimit, known: ReadonlySet<string>): readonly string[] {
  const domains = new Set([...known].map((principal) => principal.split('/', 1)[0]));
  const accounts = new Set([...known].map((principal) => principal.slice(principal.indexOf('/'))));
  return overrides
    .flatMap(({ principals }) => principals)
    .flatMap((match) => {
      if (match.kind === 'exact') {
        return domains.has(match.value.split('/', 1)[0]) && !known.has(match.value) ? [match.value] : [];
      }
      // As service accounts are read.
      return match.kind === 'suffix' && match.value.startsWith('/ns/') && !accounts.has(match.value)
        ? [`*${match.value}`]
        : [];
    });
}

function warning(code: PolicyWarningCode, at: AnalyzedObject, message: string): PolicyFinding {
  const { file, line, pointer } = at;
  return Object.freeze({
    ...{ code, severity: 'warning', message, pointer, line, column: 1 },
    ...(file !== undefined && { file }),
  } as const);
}
