import { describe, expect, it } from 'vitest';
import { AppError, toAppError } from '../../src/base/errors.ts';

describe('toAppError', () => {
  it('keeps an AppError as it is', () => {
    const error = new AppError('not-found', 'No such policy.');
    expect(toAppError(error)).toBe(error);
  });

  it('hides what an unexpected failure was, and keeps it as the cause', () => {
    const cause = new Error('password=hunter2');
    const error = toAppError(cause);
    expect(error.code).toBe('internal');
    expect(error.message).not.toContain('hunter2');
    expect(error.cause).toBe(cause);
  });
});
