import type { FastifyRequest } from 'fastify';
import { AppError } from '../../base/errors.ts';

/** Who writes, for the audit log. */
export function authorOf(request: FastifyRequest): { readonly actor?: string; readonly source: string } {
  return { ...(request.caller !== null && { actor: request.caller }), source: request.ip };
}

/** What control finds wrong in a body is a finding in that body, like those of the schema. */
export async function ofBody<T>(write: Promise<T>): Promise<T> {
  try {
    return await write;
  } catch (error) {
    if (error instanceof AppError && error.code === 'invalid' && error.details.length > 0)
      throw new AppError('invalid-document', error.message, { cause: error, details: error.details });
    throw error;
  }
}
