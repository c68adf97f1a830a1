import type { NamedTokens } from '../../control/access/named-tokens.ts';
import type { Entries } from '../../control/authority/entries/entries.ts';
import type { Federation } from '../../control/authority/federation/federation.ts';
import type { FullChange } from '../../control/policies/changes/change-views.ts';
import type { Quarantines } from '../../control/policies/quarantines.ts';
import type { RevisionTexts } from '../../control/policies/revision-texts.ts';
import type { AuthoritiesPort } from './authorities.ts';
import type { NodesPort } from './nodes.ts';
import type { PolicyChangesDeps } from './policy-changes.ts';

export interface ChangesDeps {
  readonly revisionTexts: Pick<RevisionTexts, 'head' | 'at'>;
  readonly entries: Pick<Entries, 'get'>;
  readonly federation: Pick<Federation, 'get'>;
  readonly nodes: Pick<NodesPort, 'get'>;
  readonly namedTokens: Pick<NamedTokens, 'get'>;
  readonly authorities: Pick<AuthoritiesPort, 'list'>;
  readonly quarantines: Pick<Quarantines, 'get'>;
  readonly changeViews: Pick<PolicyChangesDeps['changeViews'], 'get'>;
}

/** What a write changes, as texts. `undefined`: there is none, or it has no text of its own. */
export interface Change {
  readonly from: string;
  readonly to: string;
  readonly before: string | undefined;
  readonly after: string | undefined;
}

/** What there was before a write. */
export interface Before {
  readonly path: string;
  readonly head: number;
  readonly text: string | undefined;
}

/** Taken before a write is carried out. Nothing that goes wrong here stops it: the record then has the write without its texts. */
export async function before(deps: ChangesDeps, path: string): Promise<Before> {
  const [head, text] = await Promise.all([deps.revisionTexts.head(), textAt(deps, path)]);
  return { path, head, text };
}

/**
 * What the write has changed. A policy's is exact: it is what its revision changed. Of other objects it is what they were before
 * and are after the write; with `If-Match: *` somebody else's write may have come in between, which is on the record itself.
 *
 * @param o.path of what was written: of what was created, its Location
 * @param o.revision what the answer says, where it says one
 */
export async function changed(
  deps: ChangesDeps,
  was: Before,
  o: { readonly path: string; readonly revision: number | undefined },
): Promise<Change | undefined> {
  // One that was there before is not by this write: the same text again makes no revision.
  if (o.revision !== undefined && o.revision > was.head) {
    const policy = await deps.revisionTexts.at(o.revision);
    if (policy !== undefined) {
      const name = `${policy.namespace}/${policy.name}`;
      return { from: name, to: `${name}@${policy.revision}`, before: policy.before, after: policy.after };
    }
  }
  const after = await textAt(deps, o.path);
  if (was.text === undefined && after === undefined) return undefined;
  return { from: was.path, to: o.path, before: was.text, after };
}

async function textAt(deps: ChangesDeps, path: string): Promise<string | undefined> {
  const [, resource = '', id = ''] = /^\/v1\/([a-z-]+)(?:\/([^/:]+))?/.exec(path) ?? [];
  try {
    switch (resource) {
      case 'entries':
        return id === '' ? undefined : textOf(await deps.entries.get(id));
      case 'federation':
        return id === '' ? undefined : textOf(await deps.federation.get(id));
      case 'nodes':
        return id === '' ? undefined : textOf(await deps.nodes.get(id));
      case 'tokens':
        return id === '' ? undefined : textOf(await deps.namedTokens.get(id));
      case 'quarantines':
        return id === '' ? undefined : textOf(await deps.quarantines.get(id));
      case 'policy-changes':
        return id === '' ? undefined : changeText(await deps.changeViews.get(Number(id)));
      case 'authorities':
        return (await deps.authorities.list()).items.map((key) => `${key.kind} ${key.id} ${key.state}\n`).join('');
      default:
        return undefined;
    }
  } catch {
    // Not there (any more).
    return undefined;
  }
}

/** How far it has come, and what it changes in each policy. */
function changeText({ state, author, approver, reason, documents }: FullChange): string {
  const decided = approver === null ? '' : `approver: ${approver}\n`;
  return `state: ${state}\nauthor: ${author}\n${decided}reason: ${reason}\n${documents.map(({ diff }) => diff).join('')}`;
}

/** One member a line, so that a difference of lines is one of members. */
function textOf(value: object): string {
  return `${JSON.stringify(value, shown, 2)}\n`;
}

/** Of a bundle of keys, which number it has. */
function shown(name: string, value: unknown): unknown {
  if (name !== 'document' || typeof value !== 'object' || value === null) return value;
  return 'sequence' in value ? { sequence: String(value.sequence) } : undefined;
}
