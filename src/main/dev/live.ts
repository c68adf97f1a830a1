import { callLine } from '../../cli/calls.ts';
import type { Client } from '../../cli/client.ts';
import { OncePerCall } from '../../cli/once.ts';
import type { Style } from '../../cli/style.ts';
import { tailAudit } from '../../cli/tail.ts';
import type { World } from '../../cli/world.ts';

/** Shows calls as they are recorded, until the user has seen enough. */
export async function showLive(client: Client, world: World, style: Style): Promise<void> {
  const calls = new OncePerCall(world.clock, (record) => world.stdout(`${callLine(record, style)}\n`));
  let broken = false;
  for await (const item of tailAudit(client, {}, world)) {
    switch (item.type) {
      case 'record':
        calls.add(item.record);
        break;
      case 'lost':
        world.stderr(`… ${item.count} calls were too many to show; all of them are recorded.\n`);
        break;
      case 'interrupted':
        if (!broken) world.stderr('! The control plane is away; sidecars go on with the policy they have.\n');
        broken = true;
        break;
      case 'connected':
        if (broken) world.stderr('! The control plane is back.\n');
        broken = false;
        break;
    }
  }
}
