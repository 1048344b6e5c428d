// What vertices of obd's ops produce.
import type { FileTree } from '../native/files.js';
import type { Result } from '../solver/index.js';
import { sealedLayers, type SealedLayer, type Snapshot } from '../snapshot/index.js';

/** A file system as a chain of layers. */
export class SnapshotResult implements Result {
	readonly kind = 'snapshot';

	constructor(readonly snapshot: Snapshot) {}

	/** The sealed layers; waits until the last one is in the store. */
	async persist(): Promise<PersistedSnapshot> {
		return { layers: await sealedLayers(this.snapshot) };
	}
}

export interface PersistedSnapshot {
	readonly layers: readonly SealedLayer[];
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
