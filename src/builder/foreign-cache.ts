// Caches of other builders in a build: those it looks into, and what it gives to others.
import { ImportedCache, cacheImportName, type CacheEntry, type CacheImport, type CacheImportContext } from '../cache/index.js';
import { layersOf, restored, type PersistedSnapshot } from '../ops/index.js';
import type { SnapshotManager } from '../snapshot/index.js';
import { isCanceled, type CacheSource, type FinishedVertex, type FoundRecord } from '../solver/index.js';

/** A cache that is read when the first step asks for it. One that cannot be read is shown as failed, and is empty. */
export class ForeignCache implements CacheSource {
	#opened: Promise<ImportedCache | undefined> | undefined;

	constructor(
		private readonly source: CacheImport,
		private readonly snapshots: SnapshotManager,
		private readonly context: CacheImportContext,
		/** Runs work as a vertex of progress. */
		private readonly shown: (name: string, work: () => Promise<ImportedCache>) => Promise<ImportedCache>,
	) {}

	async find(key: string): Promise<FoundRecord | undefined> {
		try {
			const record = await (await this.#open())?.find(key);
			return record && { key: record.key, results: record.outputs.map((output) => restored(output, this.snapshots)) };
		} catch (error) {
			if (isCanceled(error) || this.context.signal.aborted) throw error;
			return undefined; // what cannot be read is no hit
		}
	}

	#open(): Promise<ImportedCache | undefined> {
		return (this.#opened ??= this.shown(cacheImportName(this.source), () => ImportedCache.open(this.source, this.context)).catch((error: unknown) => {
			if (isCanceled(error) || this.context.signal.aborted) throw error;
			return undefined;
		}));
	}
}

/** Whether changes can remove anything: what only adds files is in the layers it was laid as, too. */
function removes({ changes }: NonNullable<PersistedSnapshot['laid']>): boolean {
	return changes.some(({ lower }) => lower.length > 0);
}

/** Finished vertices as a cache has them. */
export function cacheEntries(vertices: readonly FinishedVertex[]): CacheEntry[] {
	return vertices.flatMap(({ keys, record }) => {
		const results = record.results as readonly PersistedSnapshot[];
		// A cache's layers are whole in themselves: a turboOCI layer is not, without the ordinary one it points into.
		if (results.some((result) => layersOf(result).some(({ turbo }) => turbo))) return [];
		return [{ keys, key: record.key, outputs: results.map(({ layers, laid }) => ({ layers, ...(laid && removes(laid) && { laid }) })) }];
	});
}
