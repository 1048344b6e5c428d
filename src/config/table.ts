// A TOML table with typed look-ups; an error names the key and what it holds.
import { parseDiskSpace, parseDuration, type DiskSpace } from './quantities.js';

export class Table {
	/** @param path of the table's keys in the file, for errors */
	constructor(private readonly values: Readonly<Record<string, unknown>>, private readonly path = '') {}

	keys(): readonly string[] {
		return Object.keys(this.values);
	}

	string(key: string): string | undefined {
		return this.#get(key, 'a string', (value) => (typeof value === 'string' ? value : undefined));
	}

	boolean(key: string): boolean | undefined {
		return this.#get(key, 'true or false', (value) => (typeof value === 'boolean' ? value : undefined));
	}

	number(key: string): number | undefined {
		return this.#get(key, 'a number', (value) => (typeof value === 'number' ? value : undefined));
	}

	strings(key: string): readonly string[] | undefined {
		return this.#get(key, 'a list of strings', (value) => (Array.isArray(value) && value.every((one) => typeof one === 'string') ? value as string[] : undefined));
	}

	/** Milliseconds. */
	duration(key: string): number | undefined {
		return this.#get(key, 'a duration ("48h" or a number of seconds)', parseDuration);
	}

	diskSpace(key: string): DiskSpace | undefined {
		return this.#get(key, 'an amount of disk space (bytes, "512MB" or "10%")', parseDiskSpace);
	}

	/** Empty when it is not there. */
	table(key: string): Table {
		const found = this.#get(key, 'a table', (value) => (isTable(value) ? value : undefined));
		return new Table(found ?? {}, this.#pathOf(key));
	}

	tables(key: string): readonly Table[] {
		const found = this.#get(key, 'a list of tables', (value) => (Array.isArray(value) && value.every(isTable) ? value : undefined));
		return (found ?? []).map((values, i) => new Table(values, `${this.#pathOf(key)}[${i}]`));
	}

	#get<T>(key: string, what: string, read: (value: unknown) => T | undefined): T | undefined {
		const value = this.values[key];
		if (value === undefined) return undefined;
		const known = read(value);
		if (known === undefined) throw new Error(`${this.#pathOf(key)} must be ${what}, not ${JSON.stringify(value, (_, part: unknown) => (typeof part === 'bigint' ? String(part) : part))}`);
		return known;
	}

	#pathOf(key: string): string {
		const name = /^[\w-]+$/.test(key) ? key : JSON.stringify(key);
		return this.path === '' ? name : `${this.path}.${name}`;
	}
}

function isTable(value: unknown): value is Record<string, unknown> {
	return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
}
