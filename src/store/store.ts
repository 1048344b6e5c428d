// The store as the other rooms see it.
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Blobs } from './blobs.js';
import { collect, type Collected, type CollectPolicy } from './collector.js';
import { Database, type Table, type Transaction } from './database.js';
import { isErrno, StoreError } from './errors.js';
import { Instance, recoverInstances, type DeadInstance, type RecoverFailure } from './instances.js';
import { dropLeases, Lease, type LeaseTable } from './leases.js';
import { Records, type Entry } from './records.js';

/** What this code reads and writes. It goes up when an older obd could not use the store any more. */
const format = 1;

/** Record tables carry their kind in the name: the collector finds all of them, whoever made them. */
const recordPrefix = 'records.';

export class Store {
	readonly blobs: Blobs;
	readonly #database: Database;
	readonly #leases: LeaseTable;
	#instance: Promise<Instance> | undefined;

	private constructor(readonly root: string, database: Database) {
		this.#database = database;
		this.#leases = database.table('leases');
		this.blobs = new Blobs(path.join(root, 'blobs'), async () => (await this.instance()).directory);
	}

	/** Opens or makes the store. Throws `StoreError`, which says what to do. */
	static open(root: string): Store {
		prepareRoot(root);
		return new Store(root, new Database(path.join(root, 'metadata.lmdb')));
	}

	/** A plain table, never collected. One name has one type for ever. */
	table<T>(name: string): Table<T> {
		return this.#database.table<T>(`table.${name}`);
	}

	/** A table of records the collector looks after. One name has one type for ever. */
	records<T>(name: string): Records<T> {
		if (!/^[a-z][a-z0-9-]*$/.test(name) || name === 'blob') throw new Error(`not a name for a record table: ${name}`);
		return new Records<T>(name, this.#database.table<Entry<T>>(recordPrefix + name));
	}

	/** Runs writes that must happen together (`Database.transaction`). */
	transaction<R>(body: (transaction: Transaction) => R): R {
		return this.#database.transaction(body);
	}

	/** This process' working directory in the store; made at the first call. */
	instance(): Promise<Instance> {
		this.#instance ??= Instance.create(this.#runDirectory);
		return this.#instance;
	}

	/** A new lease of this process. */
	async lease(): Promise<Lease> {
		return new Lease(this.#leases, (await this.instance()).id);
	}

	/**
	 * Drops what dead processes have left: their leases and working files. `cleanup` first undoes what is more
	 * than plain files (mounts, devices). Returns the instances that could not be cleaned up.
	 */
	recover(cleanup: (dead: DeadInstance) => Promise<void> = async () => {}): Promise<RecoverFailure[]> {
		return recoverInstances(this.#runDirectory, async (dead) => {
			await dropLeases(this.#leases, dead.id);
			await cleanup(dead);
		});
	}

	/** Collects garbage. Leases of dead processes count until `recover` has dropped them. */
	collect(policy?: CollectPolicy): Promise<Collected> {
		return collect({
			database: this.#database,
			leases: this.#leases,
			records: this.#recordNames().map((name) => this.records<unknown>(name)),
			blobDirectory: path.join(this.root, 'blobs'),
			trashDirectory: path.join(this.root, 'trash'),
		}, policy);
	}

	/** Gives up the working directory and this process' leases, and closes the database. */
	async close(): Promise<void> {
		if (this.#instance !== undefined) {
			const instance = await this.#instance;
			await dropLeases(this.#leases, instance.id);
			await instance.close();
		}
		this.#database.close();
	}

	#recordNames(): string[] {
		return this.#database.tableNames().flatMap((name) => (name.startsWith(recordPrefix) ? [name.slice(recordPrefix.length)] : []));
	}

	get #runDirectory(): string {
		return path.join(this.root, 'run');
	}
}

function prepareRoot(root: string): void {
	try {
		const found = readFormat(root);
		if (found === undefined) {
			mkdirSync(root, { recursive: true, mode: 0o711 });
			checkEmpty(root);
			writeFormat(root);
		} else if (found !== String(format)) {
			throw new StoreError(/^[0-9]+$/.test(found) && Number(found) > format
				? `the store ${root} has format ${found}, written by a newer obd; this one knows up to ${format}: update obd, or give it another root`
				: `the store ${root} has an unknown format ${JSON.stringify(found.slice(0, 40))}: is it really a store? Give obd another root`);
		}
	} catch (error) {
		if (error instanceof StoreError) throw error;
		const hint = isErrno(error, 'EACCES', 'EPERM') ? '; run as root, or give obd a root it may write to' : '';
		throw new StoreError(`cannot open the store ${root}: ${(error as Error).message}${hint}`, { cause: error });
	}
}

/** Another process may be making the same store: its files do not count. */
function checkEmpty(root: string): void {
	const foreign = readdirSync(root).find((name) => !name.startsWith('format') && name !== 'lost+found');
	if (foreign !== undefined && readFormat(root) === undefined) {
		throw new StoreError(`${root} is not empty and holds no store (it has ${foreign}): give obd an empty directory, or one it made`);
	}
}

function readFormat(root: string): string | undefined {
	try {
		return readFileSync(path.join(root, 'format'), 'utf8').trim();
	} catch (error) {
		if (isErrno(error, 'ENOENT')) return undefined;
		throw error;
	}
}

function writeFormat(root: string): void {
	const temporary = path.join(root, `format.${process.pid}`);
	writeFileSync(temporary, `${format}\n`);
	renameSync(temporary, path.join(root, 'format'));
}
