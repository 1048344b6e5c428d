// The merge op: later inputs on top of the first one, with what they add, change and remove.
import { createHash } from 'node:crypto';
import type { pb } from '../llb/index.js';
import type { BuildSession } from '../session/index.js';
import { scratch } from '../snapshot/index.js';
import type { CacheMap, Op, OpContext, Result } from '../solver/index.js';
import { changesOf, layChanges } from './changes.js';
import { SnapshotResult } from './result.js';
import { toChanged } from './to-snapshot.js';
import { uuidOf } from './uuid.js';
import type { Worker } from './worker.js';

export class MergeOp implements Op<BuildSession> {
	readonly weight = 1;

	constructor(private readonly worker: Worker, private readonly op: pb.MergeOp, private readonly inputCount: number) {}

	cacheMap(): Promise<CacheMap> {
		const inputs = this.op.inputs.map(({ input }) => input);
		const digest = createHash('sha256').update(`obd.merge.v2 ${inputs.join(',')}`).digest('hex');
		return Promise.resolve({ digest: `sha256:${digest}`, inputs: Array.from({ length: this.inputCount }, () => ({})) });
	}

	async run({ key, signal }: OpContext<BuildSession>, inputs: readonly Result[]): Promise<readonly Result[]> {
		const given = this.op.inputs.flatMap(({ input }) => inputs[input] ?? []);
		const parts = await Promise.all(given.map(async (result) => toChanged(this.worker, result, signal)));
		const [base, ...others] = parts.filter((part) => changesOf(part).length > 0);
		if (!base) return [new SnapshotResult(scratch)];
		if (others.length === 0) return [new SnapshotResult(base.snapshot, base.laid)];
		const upper = others.flatMap(changesOf);
		const snapshot = await layChanges(this.worker, base.snapshot, upper, uuidOf(key, 0), signal);
		const from = base.laid?.from ?? base.snapshot.layers.length;
		const before = changesOf(base).slice(from);
		return [new SnapshotResult(snapshot, { from, to: snapshot.layers.length, changes: [...before, ...upper] })];
	}
}
