import { Metadata } from '@grpc/grpc-js';

export { WorkloadApiClient } from '../../src/wire/workload-api.ts';

/** What every call to the Workload API carries (SPIFFE_Workload_Endpoint.md §3). */
export function workloadMetadata(): Metadata {
  const metadata = new Metadata();
  metadata.set('workload.spiffe.io', 'true');
  return metadata;
}
