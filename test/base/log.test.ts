import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createLogger } from '../../src/base/log.ts';
import { tempDirectory } from '../support/temp.ts';

describe('the log', () => {
  it('never shows the value of a secret, at the depths that we log', async () => {
    const path = join(await tempDirectory(), 'log');
    const fd = openSync(path, 'w');
    const logger = createLogger({ name: 'test', fd });
    logger.info({ token: 's3cret', request: { authorization: 's3cret', body: { csr: 's3cret' } } }, 'hello');
    closeSync(fd);
    const text = readFileSync(path, 'utf8');
    expect(text).not.toContain('s3cret');
    expect(JSON.parse(text)).toMatchObject({ name: 'test', msg: 'hello', token: '[redacted]' });
  });
});
