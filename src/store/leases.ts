// Leases: what a build in flight protects from the collector. A lease belongs to a process; when that dies,
// its leases are dropped by whoever collects or starts next.
import { randomBytes } from 'node:crypto';
import type { Table } from './database.js';

/** Key `<instance>/<lease>/<ref>`, one row for each thing protected. */
export type LeaseTable = Table<true>;

/** Keeps things from the collector. */
export interface Protection {
	/**
	 * Protects these (refs.ts). Protect first, then look whether it exists: what is there when the call is done
	 * stays.
	 */
	protect(refs: readonly string[]): Promise<void>;
}

export class Lease implements Protection {
	readonly #prefix: string;
	#released = false;

	constructor(private readonly table: LeaseTable, instanceId: string) {
		this.#prefix = `${instanceId}/${randomBytes(6).toString('hex')}/`;
	}

	/** Until the lease is released. */
	async protect(refs: readonly string[]): Promise<void> {
		if (this.#released) throw new Error('the lease was released already');
		const missing = refs.filter((ref) => !this.table.has(this.#prefix + ref));
		if (missing.length > 0) await this.table.putAll(missing.map((ref) => [this.#prefix + ref, true]));
	}

	/** Ends the protection. Idempotent. */
	async release(): Promise<void> {
		if (this.#released) return;
		this.#released = true;
		await this.table.deleteAll(this.#prefix);
	}
}

/** Drops all leases of a process. */
export function dropLeases(table: LeaseTable, instanceId: string): Promise<void> {
	return table.deleteAll(`${instanceId}/`);
}

/** The instance and the ref of a row's key. */
export function parseLeaseKey(key: string): { readonly instanceId: string; readonly ref: string } {
	const first = key.indexOf('/');
	return { instanceId: key.slice(0, first), ref: key.slice(key.indexOf('/', first + 1) + 1) };
}
