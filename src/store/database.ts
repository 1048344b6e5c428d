// The metadata database: LMDB (ACID, many processes, opened in a millisecond) behind typed tables of JSON.
// The only file that knows it is LMDB.
import { createRequire } from 'node:module';
import type { Database as LmdbDatabase, RootDatabase } from 'lmdb';
import { StoreError } from './errors.js';

/** Address space, not disk: a fixed map spares processes the dance of growing it together. */
const mapSize = 16 * 1024 ** 3;
const maxTables = 32;
/** Bytes of an LMDB key with room for its encoding; longer keys are the caller's to hash. */
const maxKeyLength = 1900;

type Store = LmdbDatabase<string, string>;

/** Writes inside `Database.transaction`: all of them happen, or none. */
export interface Transaction {
	put<T>(table: Table<T>, key: string, value: T): void;
	delete<T>(table: Table<T>, key: string): void;
}

export class Database {
	readonly #tables = new Map<string, Table<unknown>>();

	private constructor(readonly path: string, readonly env: RootDatabase<string, string>) {}

	/** Opens or creates the database file. */
	static open(path: string): Database {
		// The CommonJS build loads in 18 ms, the module one (many files) in 30.
		const { open } = createRequire(import.meta.url)('lmdb') as typeof import('lmdb');
		try {
			const env = open<string, string>({ path, noSubdir: true, mapSize, maxDbs: maxTables, encoding: 'string' });
			// Readers that were killed would keep old pages alive for ever.
			env.readerCheck();
			return new Database(path, env);
		} catch (error) {
			throw new StoreError(`cannot open the database ${path}: ${(error as Error).message}; if it is damaged, remove it: layers and cache are made again`, { cause: error });
		}
	}

	/** The table of that name; made when missing. The caller vouches for T: one name, one type. */
	table<T>(name: string): Table<T> {
		let table = this.#tables.get(name);
		if (table === undefined) {
			table = new Table<unknown>(name, this.env.openDB<string, string>({ name, encoding: 'string' }));
			this.#tables.set(name, table);
		}
		return table as Table<T>;
	}

	/**
	 * Runs `body` alone among all writers of all processes, and commits what it wrote; an exception undoes it.
	 * Reads in `body` see the newest state. Resolves when the commit is visible to all.
	 */
	async transaction<R>(body: (transaction: Transaction) => R): Promise<R> {
		return this.env.childTransaction(() => body({
			put: (table, key, value) => table.putNow(key, value),
			delete: (table, key) => table.deleteNow(key),
		}));
	}

	/** Names of the tables that exist, in order; with a prefix only those. */
	tableNames(prefix = ''): string[] {
		return [...this.env.getKeys()].filter((name) => name.startsWith(prefix));
	}

	/** Waits until everything written so far is on the disk. */
	async flush(): Promise<void> {
		await this.env.flushed;
	}

	async close(): Promise<void> {
		await this.env.close();
	}
}

/** A persistent map from strings to JSON values. Reads are synchronous (a memory map) and see one consistent state. */
export class Table<T> {
	readonly #db: Store;

	constructor(readonly name: string, db: Store) {
		this.#db = db;
	}

	get(key: string): T | undefined {
		const text = this.#db.get(checkKey(key));
		return text === undefined ? undefined : JSON.parse(text) as T;
	}

	has(key: string): boolean {
		return this.#db.doesExist(checkKey(key));
	}

	/** Resolves when other processes see it. */
	async put(key: string, value: T): Promise<void> {
		await this.#db.put(checkKey(key), JSON.stringify(value));
	}

	async delete(key: string): Promise<void> {
		await this.#db.remove(checkKey(key));
	}

	/** Entries in key order; with a prefix only those whose key starts with it. */
	*entries(prefix = ''): IterableIterator<readonly [key: string, value: T]> {
		const range = prefix === '' ? {} : { start: prefix };
		for (const { key, value } of this.#db.getRange(range)) {
			if (!key.startsWith(prefix)) return;
			yield [key, JSON.parse(value) as T];
		}
	}

	/** For `Database.transaction` only. */
	putNow(key: string, value: T): void {
		this.#db.putSync(checkKey(key), JSON.stringify(value));
	}

	/** For `Database.transaction` only. */
	deleteNow(key: string): void {
		this.#db.removeSync(checkKey(key));
	}
}

function checkKey(key: string): string {
	if (key.length === 0 || Buffer.byteLength(key) > maxKeyLength) {
		throw new RangeError(`a key has 1 to ${maxKeyLength} bytes, not ${Buffer.byteLength(key)}`);
	}
	return key;
}
