// Merge and diff ops. Block-device layers cannot be laid over one another like overlay directories, so both
// work on files: a diff is a tree of what changed, a merge copies trees onto the first one.
import { createHash } from 'node:crypto';
import type { pb } from '../llb/index.js';
import { applyDifference, type TreeView } from '../native/files.js';
import type { BuildSession } from '../session/index.js';
import { scratch, type ReadMount, type Snapshot } from '../snapshot/index.js';
import type { CacheMap, Op, OpContext, Result } from '../solver/index.js';
import { asOpResult, SnapshotResult } from './result.js';
import { uuidOf } from './uuid.js';
import type { Worker } from './worker.js';

/** A snapshot, or the difference between two: `lower` is what it is taken against. */
export class DiffResult extends SnapshotResult {
	constructor(snapshot: Snapshot, readonly lower: Snapshot, readonly upper: Snapshot) {
		super(snapshot);
	}
}

function snapshotAt(inputs: readonly Result[], index: number): Snapshot {
	if (index === -1) return scratch;
	const input = inputs[index];
	if (!input) throw new Error(`missing input ${index}`);
	const result = asOpResult(input);
	if (result.kind !== 'snapshot') throw new Error(`input ${index} is a directory, not a file system`);
	return result.snapshot;
}

function digest(...parts: readonly unknown[]): string {
	return `sha256:${createHash('sha256').update(JSON.stringify(parts)).digest('hex')}`;
}

/** Copies what `upper` has and `lower` has not onto `base`, and removes what `lower` has and `upper` has not. */
async function layOn(worker: Worker, base: Snapshot, changes: readonly { lower: Snapshot; upper: Snapshot }[], context: OpContext<BuildSession>): Promise<Snapshot> {
	const { signal } = context;
	const target = await worker.snapshots.writable(base, signal);
	const views: ReadMount[] = [];
	const view = async (snapshot: Snapshot): Promise<TreeView | undefined> => {
		if (snapshot.layers.length === 0) return undefined;
		const mount = await worker.snapshots.view(snapshot, signal);
		views.push(mount);
		return { root: mount.root };
	};
	try {
		for (const { lower, upper } of changes) {
			await applyDifference(target.root, { lower: (await view(lower))?.root, upper: (await view(upper))?.root }, { signal });
		}
		return await target.commit(uuidOf(context.key, 0));
	} finally {
		await Promise.all(views.map((mount) => mount.release()));
		await target.abort();
	}
}

export class MergeOp implements Op<BuildSession> {
	readonly weight = 1;

	constructor(private readonly worker: Worker, private readonly op: pb.MergeOp) {}

	cacheMap(): Promise<CacheMap> {
		return Promise.resolve({ digest: digest('obd.merge.v1', this.op.inputs.map(({ input }) => input)), inputs: this.op.inputs.map(() => ({})) });
	}

	async run(context: OpContext<BuildSession>, inputs: readonly Result[]): Promise<readonly Result[]> {
		const [first, ...rest] = this.op.inputs.map(({ input }) => input).filter((input) => input === -1 || snapshotAt(inputs, input).layers.length > 0);
		if (first === undefined) return [new SnapshotResult(scratch)];
		const base = snapshotAt(inputs, first);
		if (rest.length === 0) return [new SnapshotResult(base)];
		const changes = rest.map((input) => {
			const result = inputs[input];
			return result instanceof DiffResult ? { lower: result.lower, upper: result.upper } : { lower: scratch, upper: snapshotAt(inputs, input) };
		});
		return [new SnapshotResult(await layOn(this.worker, base, changes, context))];
	}
}

export class DiffOp implements Op<BuildSession> {
	readonly weight = 1;

	constructor(private readonly worker: Worker, private readonly op: pb.DiffOp) {}

	cacheMap(): Promise<CacheMap> {
		const { lower, upper } = this.op;
		const inputs = [lower?.input ?? -1, upper?.input ?? -1];
		return Promise.resolve({ digest: digest('obd.diff.v1', inputs), inputs: inputs.filter((input) => input !== -1).map(() => ({})) });
	}

	async run(context: OpContext<BuildSession>, inputs: readonly Result[]): Promise<readonly Result[]> {
		const lower = snapshotAt(inputs, this.op.lower?.input ?? -1);
		const upper = snapshotAt(inputs, this.op.upper?.input ?? -1);
		if (lower.layers.length === 0) return [new SnapshotResult(upper)];
		const snapshot = await layOn(this.worker, scratch, [{ lower, upper }], context);
		return [new DiffResult(snapshot, lower, upper)];
	}
}
