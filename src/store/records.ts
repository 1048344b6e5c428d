// Records the collector knows how to keep and drop: a value with what it needs, its size and its use.
import type { Database, Table, Transaction } from './database.js';

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
	constructor(readonly name: string, private readonly database: Database, readonly table: Table<Entry<T>>) {}

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

	/** Counts one use of each key that still exists. */
	async touch(keys: readonly string[]): Promise<void> {
		await this.database.transaction((transaction) => {
			for (const key of keys) this.#touch(transaction, key);
		});
	}

	#touch(transaction: Transaction, key: string): void {
		const entry = this.table.get(key);
		if (entry !== undefined) transaction.put(this.table, key, { ...entry, usedAt: Date.now(), uses: entry.uses + 1 });
	}

	delete(key: string): Promise<void> {
		return this.table.delete(key);
	}
}
