import { writeFileDurably } from '../base/durable.ts';
import type { Logger } from '../base/log.ts';
import type { Watch } from '../base/watch.ts';
import type { TrustBundle } from '../core/identity/bundle.ts';
import { bundlePem } from '../core/identity/bundle.ts';

/** The roots as PEM: what newcomers pin, handed to them by whoever sets them up. Public. */
export async function writeBundleFile(path: string, bundle: TrustBundle): Promise<void> {
  await writeFileDurably(path, bundlePem(bundle), { mode: 0o644 });
}

/** Rewrites the file whenever the bundle changes, until `signal` aborts. A disk that is full ends nothing: the log says so. */
export async function keepBundleFile(
  path: string,
  o: { readonly bundle: Watch<TrustBundle>; readonly logger: Logger },
  signal: AbortSignal,
): Promise<void> {
  let written: TrustBundle | undefined;
  while (!signal.aborted) {
    const { current, version } = o.bundle;
    if (current !== written) {
      try {
        await writeBundleFile(path, current);
        o.logger.info({ path, sequence: current.sequence, roots: current.roots.length }, 'bundle file written');
      } catch (error) {
        o.logger.error({ err: error, path }, 'the bundle file cannot be written; newcomers may pin what is gone');
      }
      written = current;
    }
    await o.bundle.next(version, signal).catch(() => undefined);
  }
}
