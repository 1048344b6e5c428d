// What takes up the store's disk, as `buildctl du` shows it: one record for each layer and each other thing that
// can be pruned by itself.
import { recordRef, type Entry, type Store } from '../store/index.js';
import type { StoredRecord } from './cache.js';
import type { StoredCopy } from './stores.js';

export interface UsageRecord {
	readonly id: string;
	readonly parents: readonly string[];
	/** Bytes. */
	readonly size: number;
	readonly createdAt: Date;
	readonly lastUsedAt: Date;
	readonly usageCount: number;
	readonly description: string;
	/** BuildKit's: `regular`, `internal`, ... */
	readonly type: string;
	/** Something else needs it. */
	readonly isShared: boolean;
	/** The store's records that stand for it: it goes when they do. */
	readonly refs: readonly string[];
}

interface Part {
	readonly id: string;
	readonly digest: string | undefined;
	readonly size: number;
	readonly parents: readonly string[];
	readonly description: string;
	readonly type: string;
	readonly ref: string;
	readonly entry: Entry<unknown>;
}

/** Every record, the oldest first. */
export async function usageRecords(store: Store): Promise<UsageRecord[]> {
	const parts = new Map<string, Part[]>();
	for (const part of allParts(store)) {
		const same = parts.get(part.id);
		if (same) same.push(part);
		else parts.set(part.id, [part]);
	}
	const records = await Promise.all([...parts.values()].map((same) => usageRecord(store, same)));
	const needed = new Set(records.flatMap(({ parents }) => parents));
	return records.map((record) => ({ ...record, isShared: needed.has(record.id) })).sort((a, b) => a.createdAt.getTime() - b.createdAt.getTime());
}

async function usageRecord(store: Store, same: readonly Part[]): Promise<UsageRecord> {
	const [first] = same;
	if (!first) throw new Error('a usage record of nothing');
	const present = first.digest === undefined ? 0 : await store.blobs.size(first.digest);
	return {
		id: first.id,
		parents: first.parents,
		size: first.digest === undefined ? first.size : present ?? 0,
		createdAt: new Date(Math.min(...same.map(({ entry }) => entry.createdAt))),
		lastUsedAt: new Date(Math.max(...same.map(({ entry }) => entry.usedAt))),
		usageCount: Math.max(...same.map(({ entry }) => entry.uses)) + 1,
		description: first.description,
		type: first.type,
		isShared: false,
		refs: same.map(({ ref }) => ref),
	};
}

function* allParts(store: Store): Generator<Part> {
	for (const [key, entry] of store.records<StoredRecord>('cache').entries()) {
		for (const { layers } of entry.value.results) {
			const top = layers.at(-1);
			const parent = layers.at(-2);
			yield {
				id: top ? idOf(top.digest) : key.replace(/^sha256:/, '').slice(0, idLength), digest: top?.digest, size: 0, parents: parent ? [idOf(parent.digest)] : [],
				description: entry.value.description, type: 'regular', ref: recordRef('cache', key), entry,
			};
		}
	}
	// Goes with the layer: without it, it is of no use.
	for (const [key, entry] of store.records<StoredCopy>('copies').entries()) {
		const { digest } = entry.value.layer;
		yield { id: idOf(digest), digest, size: 0, parents: [], description: 'notes on a copy', type: 'internal', ref: recordRef('copies', key), entry };
	}
	for (const [name, describe] of Object.entries(blobTables)) {
		for (const [key, entry] of store.records<{ readonly digest?: string }>(name).entries()) {
			const { digest } = entry.value;
			yield {
				id: digest === undefined ? key.slice(0, idLength) : idOf(digest), digest, size: entry.size, parents: [],
				description: describe(key), type: 'regular', ref: recordRef(name, key), entry,
			};
		}
	}
}

/** Tables of single blobs, and what to say of one. */
const blobTables: Readonly<Record<string, (key: string) => string>> = {
	converted: () => 'converted layer of a base image',
	changesets: () => 'ordinary layer made for an export',
	downloads: () => 'file from a web server',
	images: (key) => `image ${key}`,
};

const idLength = 25;

function idOf(digest: string): string {
	return digest.slice(digest.indexOf(':') + 1).slice(0, idLength);
}
