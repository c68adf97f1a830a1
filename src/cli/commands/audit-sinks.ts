import type { Command } from 'commander';
import { openSession, output } from '../options.ts';
import type { Format } from '../output.ts';
import { formats, printList } from '../output.ts';
import { relative, span } from '../table.ts';
import type { World } from '../world.ts';

/** As REST gives it. */
interface SinkObject {
  readonly name: string;
  readonly type: string;
  readonly format: string;
  readonly guarantee: string;
  readonly state: string;
  readonly since: string;
  readonly position: number;
  readonly lagBatches: number;
  readonly lagSeconds: number | null;
  readonly delivered: number;
  readonly rejected: number;
  readonly lastDeliveredAt: string | null;
  readonly lastError: { readonly at: string; readonly message: string } | null;
}

const view = {
  columns: [
    { head: 'NAME', cell: (sink: SinkObject) => sink.name },
    { head: 'TYPE', cell: (sink: SinkObject) => sink.type },
    { head: 'FORMAT', cell: (sink: SinkObject) => sink.format },
    { head: 'STATE', cell: (sink: SinkObject) => sink.state },
    { head: 'LAG', cell: lagOf },
    { head: 'LAST-DELIVERY', cell: (sink: SinkObject, now: number) => relative(sink.lastDeliveredAt, now) },
    { head: 'REJECTED', cell: (sink: SinkObject) => String(sink.rejected) },
    { head: 'LAST-ERROR', cell: (sink: SinkObject) => sink.lastError?.message ?? '' },
    { head: 'GUARANTEE', wide: true, cell: (sink: SinkObject) => sink.guarantee },
    { head: 'DELIVERED', wide: true, cell: (sink: SinkObject) => String(sink.delivered) },
    { head: 'POSITION', wide: true, cell: (sink: SinkObject) => String(sink.position) },
  ],
  name: (sink: SinkObject) => `sink/${sink.name}`,
};

/** `writ audit sinks`: where copies of the record go, and whether they arrive. */
export function addAuditSinks(audit: Command, world: World): void {
  audit
    .command('sinks')
    .summary('Where copies of the record go, and whether they arrive.')
    .description(
      'Show the sinks of this control plane: how far each is behind the ledger, and what was wrong the last time. What a sink has not ' +
        'taken stays in the ledger, and is delivered when it can be.',
    )
    .addOption(output(...formats))
    .action(async (options: { readonly output: Format }, command: Command) => {
      const { client } = await openSession(command, world);
      const { body } = await client.call<{ items: readonly SinkObject[] }>({ method: 'GET', path: '/v1/audit/sinks' });
      printList(world, options.output, view, body.items);
    });
}

function lagOf({ lagBatches, lagSeconds }: SinkObject): string {
  if (lagBatches === 0) return 'none';
  return lagSeconds === null ? `${lagBatches} batches` : `${lagBatches} batches, ${span(lagSeconds)}`;
}
