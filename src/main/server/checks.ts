import type { Authority } from '../../control/authority/authority.ts';
import type { Sequencer } from '../../control/ledger/log/sequencer.ts';
import type { Store } from '../../control/store/store.ts';
import type { Check } from '../../edge/rest/health.ts';
import type { State } from './state.ts';

/** What readiness rests on. */
export async function checks(state: Pick<State, 'store' | 'authority' | 'sequencer'>): Promise<readonly Check[]> {
  return [await storeAnswers(state.store), authorityUsable(state.authority), logGrows(state.sequencer)];
}

function logGrows({ problem }: Pick<Sequencer, 'problem'>): Check {
  return problem === undefined ? { name: 'audit log', ok: true } : { name: 'audit log', ok: false, why: problem };
}

function authorityUsable({ problems }: Pick<Authority, 'problems'>): Check {
  return problems.length === 0
    ? { name: 'authority', ok: true }
    : { name: 'authority', ok: false, why: problems.join(' ') };
}

async function storeAnswers(store: Store): Promise<Check> {
  try {
    await store.db.selectFrom('feed').select('head').executeTakeFirstOrThrow();
    return { name: 'store', ok: true };
  } catch (error) {
    return { name: 'store', ok: false, why: String(error) };
  }
}
