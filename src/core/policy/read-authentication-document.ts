import type { Shape } from './fields.ts';
import type { Findings } from './findings.ts';
import type { Name } from './read-metadata.ts';
import { readApiVersion, readMetadata } from './read-metadata.ts';
import type { Field, Value } from './yaml-reader.ts';
import { readFields, requireField } from './yaml-reader.ts';

export interface AuthenticationDocument {
  /** Undefined where it could not be read. */
  readonly name: Pick<Name, 'namespace' | 'name'> | undefined;
  readonly spec: Field | undefined;
}

const apiVersions: readonly string[] = ['security.istio.io/v1', 'security.istio.io/v1beta1', 'writ.dev/v1'];

/** What a document of these kinds begins with. Its `kind` has been read: it chose the shape. */
export function readAuthenticationDocument(
  value: Value,
  shape: Shape,
  findings: Findings,
): AuthenticationDocument | undefined {
  const fields = readFields(value, shape, findings);
  if (fields === undefined) return undefined;
  readApiVersion(fields, apiVersions, value, findings);
  const metadata = requireField(fields, 'metadata', value, findings);
  const name = metadata === undefined ? undefined : readMetadata(metadata, findings);
  if (name?.dryRun !== undefined) {
    const message = `The annotation "istio.io/dry-run" means nothing for a ${shape.name}. Remove it.`;
    findings.add('invalid-dry-run', name.dryRun.key, message);
  }
  return {
    name: name === undefined ? undefined : { namespace: name.namespace, name: name.name },
    spec: requireField(fields, 'spec', value, findings),
  };
}
