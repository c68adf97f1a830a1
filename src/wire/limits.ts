/**
 * Limits that both ends of a connection must agree on.
 *
 * A client of the control plane sets `grpc.max_receive_message_length` to MAX_SNAPSHOT_BYTES: the library's default, 4 MiB,
 * would refuse a large policy.
 */

/** Of one message to the control plane; more is `too-large`. An audit batch has at most 2 MiB of events. */
export const MAX_REQUEST_BYTES = 4 * 1024 * 1024;
/** Of one message from the control plane. */
export const MAX_SNAPSHOT_BYTES = 16 * 1024 * 1024;
/** Of one message to the enrollment service, which strangers may call. */
export const MAX_ATTEST_BYTES = 64 * 1024;

/** Either side asks whether the other is still there after this much silence, and gives it the timeout to answer. */
export const KEEPALIVE_TIME_MS = 30_000;
export const KEEPALIVE_TIMEOUT_MS = 10_000;
