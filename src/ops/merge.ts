// The merge op: later inputs on top of the first one, with what they add, change and remove.
import { createHash } from 'node:crypto';
import type { pb } from '../llb/index.js';
import type { BuildSession } from '../session/index.js';
import { scratch } from '../snapshot/index.js';
import type { CacheMap, Op, OpContext, Result } from '../solver/index.js';
import { changesOf, layChanges } from './changes.js';
import { asOpResult, SnapshotResult } from './result.js';
import { toSnapshot } from './to-snapshot.js';
import { uuidOf } from './uuid.js';
import type { Worker } from './worker.js';

export class MergeOp implements Op<BuildSession> {
	readonly weight = 1;

	constructor(private readonly worker: Worker, private readonly op: pb.MergeOp, private readonly inputCount: number) {}

	cacheMap(): Promise<CacheMap> {
		const inputs = this.op.inputs.map(({ input }) => input);
		const digest = createHash('sha256').update(`obd.merge.v1 ${inputs.join(',')}`).digest('hex');
		return Promise.resolve({ digest: `sha256:${digest}`, inputs: Array.from({ length: this.inputCount }, () => ({})) });
	}

	async run({ key, signal }: OpContext<BuildSession>, inputs: readonly Result[]): Promise<readonly Result[]> {
		const given = this.op.inputs.flatMap(({ input }) => inputs[input] ?? []);
		const parts = await Promise.all(given.map(async (result) => this.#part(result, signal)));
		const [base, ...upper] = parts.filter(({ changes }) => changes.length > 0);
		if (!base) return [new SnapshotResult(scratch)];
		if (upper.length === 0) return [new SnapshotResult(base.snapshot, base.changes)];
		const laid = upper.flatMap(({ changes }) => changes);
		return [new SnapshotResult(await layChanges(this.worker, base.snapshot, laid, uuidOf(key, 0), signal), [...base.changes, ...laid])];
	}

	async #part(result: Result, signal: AbortSignal): Promise<Required<Pick<SnapshotResult, 'snapshot' | 'changes'>>> {
		const input = asOpResult(result);
		const snapshot = await toSnapshot(this.worker, result, signal);
		return { snapshot, changes: (input.kind === 'snapshot' ? input.changes : undefined) ?? changesOf(snapshot) };
	}
}
