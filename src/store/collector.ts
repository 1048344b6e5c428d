// Garbage collection. Records go by age and use until the policy is met, least recently used first; then
// blobs that no record and no lease needs. Nothing that a lease, or a record that stays, needs is touched.
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { renameSync } from 'node:fs';
import path from 'node:path';
import type { Database } from './database.js';
import { isErrno } from './errors.js';
import { parseLeaseKey, type LeaseTable } from './leases.js';
import type { Records } from './records.js';
import { blobOf, blobRef, recordRef } from './refs.js';

export interface CollectPolicy {
	/** Records go only while the store holds more bytes than this; 0 when not given. */
	readonly keepBytes?: number;
	/** Milliseconds: records used within that time stay. */
	readonly keepDuration?: number;
	/** Only these records (`recordRef`) may go. */
	readonly only?: ReadonlySet<string>;
}

export interface Collected {
	/** References (`table:key`) of the records that went. */
	readonly records: readonly string[];
	/** Digests of the blobs that went. */
	readonly blobs: readonly string[];
	/** Bytes given back. */
	readonly bytes: number;
	/** Bytes that stay. */
	readonly keptBytes: number;
}

export interface CollectorParts {
	readonly database: Database;
	readonly leases: LeaseTable;
	readonly records: readonly Records<unknown>[];
	readonly blobDirectory: string;
	/** Blobs wait here, out of sight, to be unlinked: renaming is quick, unlinking a big file is not. */
	readonly trashDirectory: string;
}

/**
 * One collection. First the blobs nothing needs, which also works on a full disk; then records, for good; then
 * the blobs only these needed. Each step is a transaction that no new lease can slip into; killed in between,
 * it leaves blobs too many, never too few.
 */
export async function collect(parts: CollectorParts, policy: CollectPolicy = {}): Promise<Collected> {
	await mkdir(parts.trashDirectory, { recursive: true });
	const blobs = await listBlobs(parts.blobDirectory);
	const orphans = sweep(parts, blobs);
	await emptyTrash(parts.trashDirectory);
	const records = parts.database.transaction((transaction) => {
		const doomed = readGraph(parts, blobs).prune(policy);
		for (const node of doomed) transaction.delete(node.records.table, node.key);
		return doomed;
	});
	const { gone, keptBytes } = sweep(parts, blobs);
	await emptyTrash(parts.trashDirectory);
	const all = [...orphans.gone, ...gone];
	const bytes = sum(all.map((digest) => blobs.get(digest) ?? 0)) + sum(records.map((node) => node.size));
	return { records: records.map((node) => node.ref), blobs: all, bytes, keptBytes };
}

/** Takes the blobs that nothing needs out of sight. */
function sweep(parts: CollectorParts, blobs: ReadonlyMap<string, number>): { readonly gone: readonly string[]; readonly keptBytes: number } {
	return parts.database.transaction(() => {
		const graph = readGraph(parts, blobs);
		const orphans = [...blobs.keys()].filter((digest) => !graph.isNeeded(blobRef(digest)));
		return { gone: orphans.filter((digest) => moveToTrash(parts, digest)), keptBytes: graph.bytes };
	});
}

interface RecordNode {
	readonly records: Records<unknown>;
	readonly key: string;
	readonly ref: string;
	readonly refs: readonly string[];
	readonly size: number;
	readonly usedAt: number;
}

/** Who needs whom: counts of references to each record and blob. */
class Graph {
	readonly #nodes = new Map<string, RecordNode>();
	readonly #needs = new Map<string, number>();
	/** Bytes of all records and of the blobs something needs. */
	bytes = 0;

	constructor(private readonly blobs: ReadonlyMap<string, number>) {}

	addRecord(node: RecordNode): void {
		this.#nodes.set(node.ref, node);
		this.bytes += node.size;
		for (const ref of node.refs) this.need(ref);
	}

	need(ref: string): void {
		const count = this.#needs.get(ref) ?? 0;
		this.#needs.set(ref, count + 1);
		if (count === 0) this.bytes += this.#blobSize(ref);
	}

	isNeeded(ref: string): boolean {
		return (this.#needs.get(ref) ?? 0) > 0;
	}

	/** Takes records out until the policy is met; returns them. */
	prune(policy: CollectPolicy): RecordNode[] {
		const keepBytes = policy.keepBytes ?? 0;
		const usedBefore = policy.keepDuration === undefined ? Infinity : Date.now() - policy.keepDuration;
		const doomed: RecordNode[] = [];
		let queue = [...this.#nodes.values()].filter((node) => node.usedAt <= usedBefore && (policy.only?.has(node.ref) ?? true)).sort((a, b) => a.usedAt - b.usedAt);
		// A record that another needs becomes free when that one goes: go round until nothing does.
		for (let progress = true; progress;) {
			const before = doomed.length;
			queue = queue.filter((node) => {
				// A record may take no bytes at all.
				if ((keepBytes > 0 && this.bytes <= keepBytes) || this.isNeeded(node.ref)) return true;
				this.#remove(node);
				doomed.push(node);
				return false;
			});
			progress = doomed.length > before;
		}
		return doomed;
	}

	#remove(node: RecordNode): void {
		this.#nodes.delete(node.ref);
		this.bytes -= node.size;
		for (const ref of node.refs) {
			const count = (this.#needs.get(ref) ?? 0) - 1;
			this.#needs.set(ref, count);
			if (count === 0) this.bytes -= this.#blobSize(ref);
		}
	}

	#blobSize(ref: string): number {
		const digest = blobOf(ref);
		return digest === undefined ? 0 : this.blobs.get(digest) ?? 0;
	}
}

function readGraph(parts: CollectorParts, blobs: ReadonlyMap<string, number>): Graph {
	const graph = new Graph(blobs);
	for (const records of parts.records) {
		for (const [key, entry] of records.entries()) {
			graph.addRecord({ records, key, ref: recordRef(records.name, key), refs: entry.refs, size: entry.size, usedAt: entry.usedAt });
		}
	}
	for (const [key] of parts.leases.entries()) graph.need(parseLeaseKey(key).ref);
	return graph;
}

/** Sizes of the blobs, by digest. */
async function listBlobs(directory: string): Promise<Map<string, number>> {
	const blobs = new Map<string, number>();
	for (const algorithm of await list(directory)) {
		for (const hex of await list(path.join(directory, algorithm))) {
			const info = await stat(path.join(directory, algorithm, hex)).catch(ignoreMissing);
			if (info?.isFile()) blobs.set(`${algorithm}:${hex}`, info.size);
		}
	}
	return blobs;
}

function moveToTrash(parts: CollectorParts, digest: string): boolean {
	const [algorithm = '', hex = ''] = digest.split(':');
	try {
		renameSync(path.join(parts.blobDirectory, algorithm, hex), path.join(parts.trashDirectory, hex));
		return true;
	} catch (error) {
		if (isErrno(error, 'ENOENT')) return false;
		throw error;
	}
}

/** Unlinks what is in the trash; what a killed collector left there too. */
async function emptyTrash(directory: string): Promise<void> {
	for (const name of await list(directory)) await rm(path.join(directory, name), { force: true });
}

async function list(directory: string): Promise<string[]> {
	return await readdir(directory).catch(ignoreMissing) ?? [];
}

function ignoreMissing(error: unknown): undefined {
	if (!isErrno(error, 'ENOENT')) throw error;
	return undefined;
}

function sum(numbers: readonly number[]): number {
	return numbers.reduce((total, number) => total + number, 0);
}
