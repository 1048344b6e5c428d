// What steps read of their lazy base, kept so that the next cold build of the same step has it fetched before
// it is asked for.
import { createHash } from 'node:crypto';
import type { TracedRun } from '../device/types.js';

/** Kept traces, by step; the store implements it. */
export interface TraceStore {
	get(key: string): readonly TracedRun[] | undefined;
	put(key: string, runs: readonly TracedRun[]): Promise<void>;
}

/** A trace of more pieces is not worth its place. */
export const maxTracedRuns = 50_000;

/**
 * The same for a step of a Dockerfile whenever it is built on the same base, whatever other steps wrote in
 * between. `step`: what it does; `depth`: layers below it.
 */
export function traceKey(step: string, baseDigests: readonly string[], depth: number): string {
	return createHash('sha256').update(JSON.stringify([step, baseDigests, depth])).digest('hex');
}
