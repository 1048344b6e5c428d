// The merge op. Block-device layers cannot be laid over one another like overlay directories, so a merge
// copies the files of the later inputs onto the first one.
import { createHash } from 'node:crypto';
import type { pb } from '../llb/index.js';
import { runFileActions } from '../native/files.js';
import type { BuildSession } from '../session/index.js';
import { scratch, type Snapshot } from '../snapshot/index.js';
import type { CacheMap, Op, OpContext, Result } from '../solver/index.js';
import { withTree } from './content.js';
import { asOpResult, SnapshotResult } from './result.js';
import { uuidOf } from './uuid.js';
import type { Worker } from './worker.js';

export class MergeOp implements Op<BuildSession> {
	readonly weight = 1;

	constructor(private readonly worker: Worker, private readonly op: pb.MergeOp) {}

	cacheMap(): Promise<CacheMap> {
		const inputs = this.op.inputs.map(({ input }) => input);
		const digest = createHash('sha256').update(`obd.merge.v1 ${inputs.join(',')}`).digest('hex');
		return Promise.resolve({ digest: `sha256:${digest}`, inputs: inputs.filter((input) => input !== -1).map(() => ({})) });
	}

	async run(context: OpContext<BuildSession>, inputs: readonly Result[]): Promise<readonly Result[]> {
		const merged = this.op.inputs.flatMap(({ input }) => inputs[input] ?? []).filter((result) => snapshotOf(result).layers.length > 0);
		const [base, ...upper] = merged;
		if (!base) return [new SnapshotResult(scratch)];
		if (upper.length === 0) return [base];
		return [new SnapshotResult(await this.#layOn(snapshotOf(base), upper, context))];
	}

	async #layOn(base: Snapshot, upper: readonly Result[], context: OpContext<BuildSession>): Promise<Snapshot> {
		const { signal } = context;
		const target = await this.worker.snapshots.writable(base, signal);
		try {
			for (const result of upper) {
				await withTree(this.worker, result, signal, ({ tree }) => runFileActions(target.root, [
					{ type: 'copy', source: tree, src: '/', dest: '/', dirCopyContents: true, createDestPath: true, alwaysReplaceExistingDestPaths: true },
				], { signal }));
			}
			return await target.commit(uuidOf(context.key, 0));
		} finally {
			await target.abort();
		}
	}
}

function snapshotOf(result: Result): Snapshot {
	const input = asOpResult(result);
	if (input.kind !== 'snapshot') throw new Error('a directory cannot be merged into a file system');
	return input.snapshot;
}
