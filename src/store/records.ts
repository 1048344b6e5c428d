// Records the collector knows how to keep and drop: a value with what it needs, its size and its use.
import type { Table } from './database.js';

export interface Entry<T> {
	readonly value: T;
	/** What must live as long as this record (refs.ts). */
	readonly refs: readonly string[];
	/** Bytes this record stands for beside the blobs it refers to. */
	readonly size: number;
	/** Milliseconds since 1970. */
	readonly createdAt: number;
	readonly usedAt: number;
	/** Times it was used after it was made. */
	readonly uses: number;
}

/** A table of records: cache results, converted layers, images, ... */
export class Records<T> {
	constructor(readonly name: string, readonly table: Table<Entry<T>>) {}

	get(key: string): Entry<T> | undefined {
		return this.table.get(key);
	}

	entries(prefix?: string): IterableIterator<readonly [key: string, entry: Entry<T>]> {
		return this.table.entries(prefix);
	}

	/**
	 * Adds or replaces a record. Whoever calls it holds a lease on what it refers to: from here on the record
	 * itself keeps that alive.
	 */
	async put(key: string, value: T, options: { readonly refs?: readonly string[]; readonly size?: number } = {}): Promise<void> {
		const now = Date.now();
		await this.table.put(key, { value, refs: options.refs ?? [], size: options.size ?? 0, createdAt: now, usedAt: now, uses: 0 });
	}

	/** Counts one use of each key that still exists. Of two processes that count the same at once, one counts. */
	async touch(keys: Iterable<string>): Promise<void> {
		const usedAt = Date.now();
		const used = [...new Set(keys)].flatMap((key) => {
			const entry = this.table.get(key);
			return entry === undefined ? [] : [[key, { ...entry, usedAt, uses: entry.uses + 1 }] as const];
		});
		if (used.length > 0) await this.table.updateAll(used);
	}

	delete(key: string): Promise<void> {
		return this.table.delete(key);
	}
}
