import type { HealthClient, HealthDefinition } from './gen/grpc/health/v1/Health.ts';
import type { AuditClient, AuditDefinition } from './gen/writ/v1/Audit.ts';
import type { EnrollmentClient, EnrollmentDefinition } from './gen/writ/v1/Enrollment.ts';
import type { IdentityClient, IdentityDefinition } from './gen/writ/v1/Identity.ts';
import type { IdentityUpdate, IdentityUpdate__Output } from './gen/writ/v1/IdentityUpdate.ts';
import type { PolicyClient, PolicyDefinition } from './gen/writ/v1/Policy.ts';
import type { Snapshot, Snapshot__Output } from './gen/writ/v1/Snapshot.ts';
import type { SnapshotContent, SnapshotContent__Output } from './gen/writ/v1/SnapshotContent.ts';
import type { TrustBundle, TrustBundle__Output } from './gen/writ/v1/TrustBundle.ts';
import { protoFiles } from './proto-files.ts';
import { Protocol } from './protocol.ts';

/** The services and messages of Writ itself. */

const protocol = new Protocol(protoFiles);

export const enrollmentService = protocol.service<EnrollmentDefinition>('writ.v1.Enrollment');
export const identityService = protocol.service<IdentityDefinition>('writ.v1.Identity');
export const policyService = protocol.service<PolicyDefinition>('writ.v1.Policy');
export const auditService = protocol.service<AuditDefinition>('writ.v1.Audit');
export const healthService = protocol.service<HealthDefinition>('grpc.health.v1.Health');

export const snapshotCodec = protocol.codec<Snapshot, Snapshot__Output>('writ.v1.Snapshot');
export const snapshotContentCodec = protocol.codec<SnapshotContent, SnapshotContent__Output>('writ.v1.SnapshotContent');
export const identityUpdateCodec = protocol.codec<IdentityUpdate, IdentityUpdate__Output>('writ.v1.IdentityUpdate');
export const trustBundleCodec = protocol.codec<TrustBundle, TrustBundle__Output>('writ.v1.TrustBundle');

export const clients = {
  Enrollment: protocol.client<EnrollmentClient>('Enrollment', enrollmentService),
  Identity: protocol.client<IdentityClient>('Identity', identityService),
  Policy: protocol.client<PolicyClient>('Policy', policyService),
  Audit: protocol.client<AuditClient>('Audit', auditService),
  Health: protocol.client<HealthClient>('Health', healthService),
} as const;
