import type { Result } from '../solver/index.js';
import { asOpResult } from './result.js';
import type { Worker } from './worker.js';

/** Gets the layers ready that a step will write on. */
export async function prepareRoot({ snapshots }: Worker, input: Result | undefined, step: string): Promise<void> {
	const result = input && asOpResult(input);
	if (result?.kind === 'snapshot') await snapshots.prepare(result.snapshot, step);
}
