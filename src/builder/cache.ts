// The build cache over the store: cache records, and the results they stand for.
import { layersOf, restored, type PersistedSnapshot } from '../ops/index.js';
import type { StoredCopy } from './stores.js';
import type { CacheRecord, Result, ResultCache } from '../solver/index.js';
import { blobsOf, type LayerBlob, type SnapshotManager } from '../snapshot/index.js';
import { blobRef, type Protection, type Records, type Store } from '../store/index.js';

/** What the store keeps of a vertex: its key for later vertices and the layers of each output. */
export interface StoredRecord {
	readonly key: string;
	readonly results: readonly PersistedSnapshot[];
	/** What progress called the vertex, for `du`. */
	readonly description: string;
}

export class StoreCache implements ResultCache {
	readonly #records: Records<StoredRecord>;
	readonly #copies: Records<StoredCopy>;
	readonly #present = new Map<string, Promise<boolean>>();
	readonly #used = new Set<string>();

	constructor(private readonly store: Store, private readonly lease: Protection, private readonly snapshots: SnapshotManager) {
		this.#records = store.records<StoredRecord>('cache');
		this.#copies = store.records<StoredCopy>('copies');
	}

	get(key: string): CacheRecord | undefined {
		const entry = this.#records.get(key);
		if (entry) this.#used.add(key);
		return entry?.value;
	}

	async put(keys: readonly string[], record: CacheRecord, vertexName: string): Promise<void> {
		const results = record.results as readonly PersistedSnapshot[];
		const refs = [...new Set(results.flatMap(layersOf).filter((layer) => !layer.source).flatMap(blobsOf).map(({ digest }) => blobRef(digest)))];
		const value: StoredRecord = { key: record.key, results, description: vertexName };
		await Promise.all(keys.map((key) => this.#records.put(key, value, { refs })));
		await Promise.all(results.map(({ layers, copy }) => {
			const layer = layers.at(-1);
			// Only the notes: the layer is kept by the results that have it.
			return copy && layer && this.#copies.put(copy.key, { layer, notes: copy.notes }, { refs: [blobRef(copy.notes.digest)] });
		}));
	}

	async load(value: unknown): Promise<Result | undefined> {
		const persisted = value as PersistedSnapshot;
		const local = layersOf(persisted).filter((layer) => !layer.source).flatMap(blobsOf);
		// Protected first, then looked for: what is there now stays until the build ends.
		await this.lease.protect(local.map(({ digest }) => blobRef(digest)));
		const present = await Promise.all(local.map((blob) => this.#isPresent(blob)));
		if (!present.every(Boolean)) return undefined;
		return restored(persisted, this.snapshots);
	}

	/** Blobs may be gone: looks again for each. */
	forget(): void {
		this.#present.clear();
	}

	/** Counts the records this build used, so that the collector drops the unused ones first. */
	async touch(): Promise<void> {
		const keys = [...this.#used];
		this.#used.clear();
		if (keys.length > 0) await this.#records.touch(keys);
	}

	#isPresent({ digest, size }: LayerBlob): Promise<boolean> {
		let present = this.#present.get(digest);
		if (!present) {
			present = this.store.blobs.has(digest, size);
			this.#present.set(digest, present);
		}
		return present;
	}
}
