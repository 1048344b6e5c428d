// The diff op: what it takes to get from one file system to another. By itself the result is what was added
// and changed; merged onto another file system it takes away what was removed as well.
import { createHash } from 'node:crypto';
import type { pb } from '../llb/index.js';
import type { BuildSession } from '../session/index.js';
import { scratch } from '../snapshot/index.js';
import type { CacheMap, Op, OpContext, Result } from '../solver/index.js';
import { difference, layChanges } from './changes.js';
import { SnapshotResult } from './result.js';
import { toChanged } from './to-snapshot.js';
import { uuidOf } from './uuid.js';
import type { Worker } from './worker.js';

export class DiffOp implements Op<BuildSession> {
	readonly weight = 1;

	constructor(private readonly worker: Worker, private readonly op: pb.DiffOp, private readonly inputCount: number) {
		if (!op.lower || !op.upper) throw new Error('invalid diff op with nil lower or upper input');
	}

	cacheMap(): Promise<CacheMap> {
		const digest = createHash('sha256').update(`obd.diff.v2 ${this.op.lower?.input} ${this.op.upper?.input}`).digest('hex');
		return Promise.resolve({ digest: `sha256:${digest}`, inputs: Array.from({ length: this.inputCount }, () => ({})) });
	}

	async run({ key, signal }: OpContext<BuildSession>, inputs: readonly Result[]): Promise<readonly Result[]> {
		const lowerInput = inputs[this.op.lower?.input ?? -1];
		const upperInput = inputs[this.op.upper?.input ?? -1];
		if (!lowerInput) return [upperInput ?? new SnapshotResult(scratch)];
		const lower = await toChanged(this.worker, lowerInput, signal);
		const upper = upperInput ? await toChanged(this.worker, upperInput, signal) : { snapshot: scratch };
		const changes = difference(lower, upper);
		if (changes.length === 0) return [new SnapshotResult(scratch)];
		const snapshot = await layChanges(this.worker, scratch, changes, uuidOf(key, 0), signal);
		return [new SnapshotResult(snapshot, { from: 0, to: snapshot.layers.length, changes })];
	}
}
