import { createHash, timingSafeEqual } from 'node:crypto';
import { readSecretFile, reason, writeFileDurably } from '../../base/durable.ts';
import { AppError } from '../../base/errors.ts';
import type { RandomBytes } from '../../base/random.ts';
import { secureRandom } from '../../base/random.ts';
import type { Role } from '../../core/identity/roles.ts';

export interface AdminTokensOptions {
  /** `<data directory>/admin-token`. The directory must exist and be private. */
  readonly file: string;
  readonly random?: RandomBytes;
}

/** Who an administrator is, and what they may do. */
export interface Administrator {
  readonly name: string;
  readonly role: Role;
  /** Id of the token that was presented. */
  readonly credential: string;
}

/** The name of whoever holds the token of the data directory. */
export const BOOTSTRAP = 'admin';

const bootstrap: Administrator = Object.freeze({ name: BOOTSTRAP, role: 'admin', credential: 'bootstrap' });

const TOKEN_PREFIX = 'writ_';
const TOKEN_BYTES = 32;
/** An operator may write a token of their own into the file; one that can be guessed is refused. */
const tokenPattern = /^[\x21-\x7e]{32,512}$/;

/**
 * The bearer token of the administrator: drawn at the first start, kept in a file that only its owner can read; there is no
 * default. In memory there is only its hash.
 */
export class AdminTokens {
  readonly #hash: Buffer;

  /**
   * Reads the file, making it with a new token (mode 0600) when there is none. Throws `usage` when others can read the file
   * or when it holds no token.
   */
  static async open(options: AdminTokensOptions): Promise<AdminTokens> {
    const random = options.random ?? secureRandom;
    const stored = (await readSecretFile(options.file)) ?? (await create(options.file, random));
    const token = stored.toString('utf8').trim();
    if (!tokenPattern.test(token)) {
      throw new AppError(
        'usage',
        `${options.file} holds no usable token: 32 to 512 visible ASCII characters are needed. ` +
          'Delete the file, and the next start makes a new one.',
      );
    }
    return new AdminTokens(hashOf(token));
  }

  private constructor(hash: Buffer) {
    this.#hash = hash;
  }

  /** Takes the same time whatever is presented (but for its length). `undefined`: it is not the token. */
  authenticate(presented: string): Administrator | undefined {
    return timingSafeEqual(hashOf(presented), this.#hash) ? bootstrap : undefined;
  }
}

async function create(file: string, random: RandomBytes): Promise<Buffer> {
  const text = Buffer.from(`${TOKEN_PREFIX}${random(TOKEN_BYTES).toString('base64url')}\n`);
  try {
    await writeFileDurably(file, text, { mode: 0o600, random });
  } catch (cause) {
    throw new AppError(
      'unavailable',
      `Cannot write ${file}: ${reason(cause)}. Its directory must exist and be writable.`,
      {
        cause,
      },
    );
  }
  return text;
}

function hashOf(token: string): Buffer {
  return createHash('sha256').update(token, 'utf8').digest();
}
