import type { Client } from '../client.ts';
import type { ServerInfo } from '../info.ts';
import type { World } from '../world.ts';

export type Status = 'ok' | 'warning' | 'failed' | 'skipped';

export interface Result {
  readonly status: Status;
  /** What was found; empty where the title says all. */
  readonly detail?: string;
  /** How to mend it. */
  readonly hint?: string;
}

export interface Check {
  readonly group: string;
  /** What is true when it is ok. */
  readonly title: string;
  /** May throw: that is a failure, with the error as its hint. */
  run(state: CheckState): Promise<Result>;
}

/** What the checks before have found out; a check whose ground is missing is skipped. */
export interface CheckState {
  readonly world: World;
  readonly client: Client;
  info?: ServerInfo;
  /** When the server was asked and answered by our clock, and what it said its time was. */
  date?: { readonly sentAt: number; readonly receivedAt: number; readonly header: string | null };
  /** PEM. */
  roots?: string;
}

export const ok = (detail?: string): Result => ({ status: 'ok', ...(detail !== undefined && { detail }) });
export const warning = (detail: string, hint: string): Result => ({ status: 'warning', detail, hint });
export const failed = (detail: string, hint: string): Result => ({ status: 'failed', detail, hint });
export const skipped = (detail: string): Result => ({ status: 'skipped', detail });
