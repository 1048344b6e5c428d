// The metadata database as typed tables of JSON. All tables are in one LMDB file, by prefixes of its keys.
import { MetadataDatabase, type MetadataWrite } from '../native/store.js';
import { isErrno, StoreError } from './errors.js';

/** Between a table's name and a key in it; in no name. */
const separator = '\0';

/** Writes inside `Database.transaction`: all of them happen, or none. */
export interface Transaction {
	put<T>(table: Table<T>, key: string, value: T): void;
	delete<T>(table: Table<T>, key: string): void;
}

export class Database {
	readonly #file: MetadataDatabase;

	/** Opens or creates the file. Throws `StoreError`. */
	constructor(path: string) {
		try {
			this.#file = new MetadataDatabase(path);
		} catch (error) {
			const advice = isErrno(error, 'EACCES', 'EPERM') ? 'run as root, or give obd a root it may write to'
				: isErrno(error, 'ENOSPC', 'EROFS') ? 'give obd a root it can write to'
					: 'remove it, and layers and cache are made again';
			throw new StoreError(`cannot open the metadata database ${path}: ${(error as Error).message}; ${advice}`, { cause: error });
		}
	}

	/** The table of that name. The caller vouches for T: one name, one type. */
	table<T>(name: string): Table<T> {
		return new Table<T>(name, this.#file);
	}

	/** Names of the tables that hold something, in order. */
	tableNames(): string[] {
		const names: string[] = [];
		for (let key = this.#file.nextKey(''); key !== undefined; key = this.#file.nextKey(`${names.at(-1)}\x01`)) {
			names.push(key.slice(0, key.indexOf(separator)));
		}
		return names;
	}

	/**
	 * Runs `body` alone among all writers of all processes, and commits what it wrote; an exception undoes it.
	 * It blocks this thread, so it must be short and rare; single writes need none.
	 */
	transaction<R>(body: (transaction: Transaction) => R): R {
		return this.#file.exclusive((write) => body({
			put: (table, key, value) => write([table.putOf(key, value)]),
			delete: (table, key) => write([table.deleteOf(key)]),
		}));
	}

	/** Writes already called for still happen. */
	close(): void {
		this.#file.close();
	}
}

/** A persistent map from strings to JSON values. Reads are synchronous; a write is seen by all when its promise resolves. */
export class Table<T> {
	constructor(readonly name: string, private readonly file: MetadataDatabase) {}

	get(key: string): T | undefined {
		const text = this.file.get(this.#keyOf(key));
		return text === undefined ? undefined : JSON.parse(text) as T;
	}

	has(key: string): boolean {
		return this.file.get(this.#keyOf(key)) !== undefined;
	}

	async put(key: string, value: T): Promise<void> {
		await this.file.write([this.putOf(key, value)]);
	}

	/** Puts all of these, or none. */
	async putAll(entries: Iterable<readonly [key: string, value: T]>): Promise<void> {
		await this.file.write([...entries].map(([key, value]) => this.putOf(key, value)));
	}

	/** Replaces the values of those keys that still exist. */
	async updateAll(entries: Iterable<readonly [key: string, value: T]>): Promise<void> {
		await this.file.write([...entries].map(([key, value]) => ({ ...this.putOf(key, value), kind: 'update' })));
	}

	async delete(key: string): Promise<void> {
		await this.file.write([this.deleteOf(key)]);
	}

	/** Deletes all keys that start with the prefix. */
	async deleteAll(prefix: string): Promise<void> {
		await this.file.write([{ kind: 'deletePrefix', key: this.#keyOf(prefix) }]);
	}

	/** Entries in key order; with a prefix only those whose key starts with it. */
	*entries(prefix = ''): IterableIterator<readonly [key: string, value: T]> {
		const skip = this.name.length + separator.length;
		for (const [key, value] of this.file.range(this.#keyOf(prefix))) yield [key.slice(skip), JSON.parse(value) as T];
	}

	/** @internal */
	putOf(key: string, value: T): MetadataWrite & { readonly kind: 'put' | 'update' } {
		return { kind: 'put', key: this.#keyOf(key), value: JSON.stringify(value) };
	}

	/** @internal */
	deleteOf(key: string): MetadataWrite {
		return { kind: 'delete', key: this.#keyOf(key) };
	}

	#keyOf(key: string): string {
		return this.name + separator + key;
	}
}
