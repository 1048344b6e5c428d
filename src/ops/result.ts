// What vertices of obd's ops produce.
import type { FileTree } from '../native/files.js';
import type { Result } from '../solver/index.js';
import type { Laid } from './changes.js';
import { sealedLayers, type SealedLayer, type Snapshot, type SnapshotManager } from '../snapshot/index.js';

/** Bytes of a trace that is worth its place in the cache. */
const maxKeptTrace = 1024 * 1024;

/** Where the next run of a copy finds its result and the notes on it. */
export interface NotedCopy {
	/** Under which key, given the layers below. */
	readonly keyOn: (digests: readonly string[]) => string;
	readonly notes: { readonly digest: string; readonly size: number };
}

/** A file system as a chain of layers. */
export class SnapshotResult implements Result {
	readonly kind = 'snapshot';

	constructor(
		readonly snapshot: Snapshot,
		/** Layers of it that came about by laying changes over it; what it is merged as depends on them. */
		readonly laid?: Laid,
		private readonly copy?: NotedCopy,
	) {}

	/** The sealed layers; waits until the last one is in the store. */
	async persist(): Promise<PersistedSnapshot> {
		const { snapshot: { trace }, laid, copy } = this;
		const [layers, changes] = await Promise.all([
			sealedLayers(this.snapshot),
			Promise.all(laid?.changes.map(async ({ lower, upper }) => ({ lower: await sealedLayers(lower), upper: await sealedLayers(upper) })) ?? []),
		]);
		const below = layers.slice(0, -1).map(({ digest }) => digest);
		return { layers, ...(laid && { laid: { from: laid.from, to: laid.to, changes } }), ...(copy && { copy: { key: copy.keyOn(below), notes: copy.notes } }), ...(trace && trace.length <= maxKeptTrace && { trace: Buffer.from(trace).toString('base64') }) };
	}
}

export interface PersistedSnapshot {
	readonly layers: readonly SealedLayer[];
	/** Makes the top layer the one that the copy with this key goes on from. */
	readonly copy?: { readonly key: string; readonly notes: { readonly digest: string; readonly size: number } };
	/** `Snapshot.trace` in base64. */
	readonly trace?: string;
	readonly laid?: Laid<readonly SealedLayer[]>;
}

/** The result that `persist` wrote. */
export function restored({ layers, laid, trace }: PersistedSnapshot, snapshots: Pick<SnapshotManager, 'snapshot'>): SnapshotResult {
	const snapshot = snapshots.snapshot(layers);
	return new SnapshotResult(
		trace === undefined ? snapshot : { ...snapshot, trace: Buffer.from(trace, 'base64') },
		laid && { ...laid, changes: laid.changes.map(({ lower, upper }) => ({ lower: snapshots.snapshot(lower), upper: snapshots.snapshot(upper) })) },
	);
}

/** Every layer a result stands on. */
export function layersOf({ layers, laid }: Pick<PersistedSnapshot, 'layers' | 'laid'>): readonly SealedLayer[] {
	return [...layers, ...(laid?.changes ?? []).flatMap(({ lower, upper }) => [...lower, ...upper])];
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

/** What was laid to make a result. */
export function laidOf(result: Result | undefined): Laid | undefined {
	return result instanceof SnapshotResult ? result.laid : undefined;
}
