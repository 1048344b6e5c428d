// What vertices of obd's ops produce.
import type { FileTree } from '../native/files.js';
import type { Result } from '../solver/index.js';
import type { Change } from './changes.js';
import { sealedLayers, type SealedLayer, type Snapshot } from '../snapshot/index.js';

/** Bytes of a trace that is worth its place in the cache. */
const maxKeptTrace = 1024 * 1024;

/** A file system as a chain of layers. */
export class SnapshotResult implements Result {
	readonly kind = 'snapshot';

	constructor(
		readonly snapshot: Snapshot,
		/** What it lays over another file system when it is merged; its layers when not given. */
		readonly changes?: readonly Change[],
	) {}

	/** The sealed layers; waits until the last one is in the store. */
	async persist(): Promise<PersistedSnapshot> {
		const [layers, changes] = await Promise.all([
			sealedLayers(this.snapshot),
			this.changes && Promise.all(this.changes.map(async ({ lower, upper }) => ({ lower: await sealedLayers(lower), upper: await sealedLayers(upper) }))),
		]);
		const { trace } = this.snapshot;
		return { layers, ...(changes && { changes }), ...(trace && trace.length <= maxKeptTrace && { trace: Buffer.from(trace).toString('base64') }) };
	}
}

export interface PersistedSnapshot {
	readonly layers: readonly SealedLayer[];
	/** `Snapshot.trace` in base64. */
	readonly trace?: string;
	readonly changes?: readonly { readonly lower: readonly SealedLayer[]; readonly upper: readonly SealedLayer[] }[];
}

/** Files in a directory of this host: a client's context, a checkout, a download. */
export class DirectoryResult implements Result {
	readonly kind = 'directory';
	#snapshot: Promise<Snapshot> | undefined;

	constructor(
		/** Absolute path of the directory. */
		readonly root: string,
		/** The files of it that the source lets through, as they were when first looked at. */
		readonly tree: FileTree,
	) {}

	persist(): Promise<undefined> {
		return Promise.resolve(undefined);
	}

	/** The files as a snapshot, made once. */
	asSnapshot(make: () => Promise<Snapshot>): Promise<Snapshot> {
		if (!this.#snapshot) {
			this.#snapshot = make();
			this.#snapshot.catch(() => { this.#snapshot = undefined; });
		}
		return this.#snapshot;
	}
}

/** Every result there is. */
export type OpResult = SnapshotResult | DirectoryResult;

/** The solver's opaque result as ours. */
export function asOpResult(result: Result): OpResult {
	if (result instanceof SnapshotResult || result instanceof DirectoryResult) return result;
	throw new TypeError('not a result of these ops');
}
