import { Type } from 'typebox';
import type { ChangeDocument, Observed, PolicyChange, Rollout } from '../../control/policies/changes/change.ts';
import type { DocumentView, FullChange } from '../../control/policies/changes/change-views.ts';
import { changeStates } from '../../core/policy/change.ts';
import { policyKindNames } from '../../core/policy/kinds.ts';
import type { CallCounts } from '../../core/policy/rollout.ts';
import { warnings } from './dry-run.ts';
import { closed, namespaceName, nullable, objectName, oneOf, revision, time } from './schemas.ts';
import { toTime, toTimeOrNull } from './time.ts';

const percent = Type.Number({ minimum: 0, maximum: 100, description: 'Percent.' });

export const kind = oneOf(policyKindNames);
export const steps = Type.Array(Type.Number({ exclusiveMinimum: 0, maximum: 100 }), {
  minItems: 1,
  maxItems: 20,
  description: 'Shares of the sidecars that the change concerns, in percent: growing, the last 100.',
});
export const bakeSeconds = Type.Integer({
  minimum: 1,
  maximum: 86_400,
  description: 'Seconds that each step must hold, once every chosen sidecar has acknowledged it.',
});
export const maxDenials = Type.Number({
  minimum: 0,
  maximum: 100,
  description: 'Percent of calls that may be denied beyond what was to be expected.',
});
export const maxErrors = Type.Number({
  minimum: 0,
  maximum: 100,
  description: 'Percent of calls that may end in a status from 500 beyond what was to be expected.',
});

const documentFields = {
  operation: oneOf(['put', 'delete']),
  kind,
  namespace: namespaceName,
  name: objectName,
  replaces: nullable(Type.Integer({ description: 'The revision that it takes the place of; null: there is none.' })),
  revision: Type.Integer({ minimum: 0, description: 'Its revision in rule ids while it is rolled out.' }),
};
const Counts = Type.Object({ calls: Type.Integer(), denials: Type.Integer(), errors: Type.Integer() }, closed);

const RolloutOutput = Type.Object(
  {
    steps,
    bakeSeconds: Type.Number(),
    maxDenials,
    maxErrors,
    startedBy: Type.String(),
    startedAt: time,
    step: Type.Integer({ minimum: 1, description: 'From 1: which of the steps it is at.' }),
    percent,
    chosen: Type.Integer({ description: 'Sidecars that had been chosen when the step began.' }),
    stepStartedAt: time,
    bakeStartedAt: nullable(time),
    observed: Type.Object(
      { at: nullable(time), chosen: Counts, before: Counts, others: Counts },
      {
        ...closed,
        description:
          'Calls of the sidecars that have the candidate, since the step began; of the same before the rollout; and of the ' +
          'others that the change concerns.',
      },
    ),
  },
  closed,
);

const changeFields = {
  revision: Type.Integer({ minimum: 0, description: 'Names the change.' }),
  state: oneOf(changeStates),
  author: Type.String({ description: 'Who proposed it: the name of the token.' }),
  reason: Type.String(),
  createdAt: time,
  expiresAt: time,
  approver: nullable(Type.String()),
  why: nullable(Type.String({ description: 'Why it was rejected or rolled back.' })),
  appliedRevision: nullable(revision),
  updatedAt: time,
  rollout: nullable(RolloutOutput),
  warnings,
};

export const ChangeOutput = Type.Object(
  { ...changeFields, documents: Type.Array(Type.Object(documentFields, closed)) },
  closed,
);
export const FullChangeOutput = Type.Object(
  {
    ...changeFields,
    documents: Type.Array(
      Type.Object(
        {
          ...documentFields,
          source: nullable(Type.String({ description: 'The text byte for byte; null for a deletion.' })),
          diff: Type.String({ description: 'What it changes, as a unified diff.' }),
        },
        closed,
      ),
    ),
    events: Type.Array(
      Type.Object({ time, actor: Type.String(), action: Type.String(), detail: Type.String() }, closed),
      { description: 'What happened to it, oldest first. `writ` is what happens by itself.' },
    ),
  },
  closed,
);

export function toChangeOutput(change: PolicyChange) {
  return { ...fieldsOf(change), documents: change.documents.map(toDocument) };
}

export function toFullChange(change: FullChange) {
  return {
    ...fieldsOf(change),
    documents: change.documents.map((document) => toDocumentView(document)),
    events: change.events.map((event) => ({ ...event, time: toTime(event.time) })),
  };
}

function fieldsOf(change: PolicyChange) {
  const { revision: number, state, author, reason, approver, why, appliedRevision, rollout } = change;
  return {
    ...{ revision: number, state, author, reason, approver, why, appliedRevision },
    createdAt: toTime(change.createdAt),
    expiresAt: toTime(change.expiresAt),
    updatedAt: toTime(change.updatedAt),
    rollout: rollout === null ? null : toRolloutOutput(rollout),
  };
}

function toDocument(document: ChangeDocument) {
  const { operation, kind: kindName, namespace, name, replaces, revision: number } = document;
  return { operation, kind: kindName, namespace, name, replaces, revision: number };
}

function toDocumentView(document: DocumentView) {
  return { ...toDocument(document), source: document.source, diff: document.diff };
}

function toRolloutOutput(rollout: Rollout) {
  return {
    steps: [...rollout.steps],
    bakeSeconds: rollout.bakeMs / 1000,
    maxDenials: toPercent(rollout.bounds.denials),
    maxErrors: toPercent(rollout.bounds.errors),
    startedBy: rollout.startedBy,
    startedAt: toTime(rollout.startedAt),
    step: rollout.step + 1,
    percent: rollout.steps[rollout.step] ?? 100,
    chosen: rollout.chosen,
    stepStartedAt: toTime(rollout.stepStartedAt),
    bakeStartedAt: toTimeOrNull(rollout.bakeStartedAt),
    observed: toObserved(rollout.observed),
  };
}

function toObserved({ at, chosen, before, others }: Observed) {
  return { at: toTimeOrNull(at), chosen: toCounts(chosen), before: toCounts(before), others: toCounts(others) };
}

function toCounts({ calls, denials, errors }: CallCounts) {
  return { calls, denials, errors };
}

/** Without what binary fractions add. */
function toPercent(share: number): number {
  return Number((share * 100).toFixed(6));
}
