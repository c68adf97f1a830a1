import { expect } from 'vitest';
import type { ErrorCode } from '../../src/base/errors.ts';
import { AppError } from '../../src/base/errors.ts';

/** Asserts that `run` throws or rejects with an AppError of this code and message; returns it. */
export async function expectAppError(
  run: Promise<unknown> | (() => unknown),
  code: ErrorCode,
  message?: RegExp | string,
): Promise<AppError> {
  let caught: unknown;
  try {
    await (typeof run === 'function' ? run() : run);
  } catch (error) {
    caught = error;
  }
  expect(caught, 'expected an AppError, nothing was thrown').toBeInstanceOf(AppError);
  const error = caught as AppError;
  expect({ code: error.code, message: error.message }).toEqual({
    code,
    message:
      message === undefined ? error.message : typeof message === 'string' ? message : expect.stringMatching(message),
  });
  return error;
}
