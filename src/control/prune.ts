// Which of the store's records go: a client's prune, and the policies of the daemon's own garbage collection.
import { statfs } from 'node:fs/promises';
import type { Builder, UsageRecord } from '../builder/index.js';
import { parseFilters, type FieldReader } from './filter.js';

export interface PrunePolicy {
	/** containerd's filters over `id`, `type`, `description`, `inuse`, `mutable`, `shared`; none: everything. */
	readonly filters: readonly string[];
	/** Milliseconds; what was used within that time stays. 0: nothing does for that. */
	readonly keepDuration: number;
	/** Bytes; 0: not given. */
	readonly reservedSpace: number;
	readonly maxUsedSpace: number;
	readonly minFreeSpace: number;
}

export async function usage(builder: Builder, { filters, ageLimit }: { readonly filters: readonly string[]; readonly ageLimit: number }): Promise<UsageRecord[]> {
	const matches = parseFilters(filters);
	const usedBefore = ageLimit > 0 ? Date.now() - ageLimit : Infinity;
	return (await builder.usage()).filter((record) => matches(fieldsOf(record)) && record.lastUsedAt.getTime() <= usedBefore);
}

/** Prunes; returns what has gone. */
export async function prune(builder: Builder, policy: PrunePolicy): Promise<UsageRecord[]> {
	const matches = parseFilters(policy.filters);
	const all = await builder.usage();
	const total = all.reduce((sum, { size }) => sum + size, 0);
	const wanted = all.filter((record) => matches(fieldsOf(record)));
	const gone = new Set(await builder.collect({
		keepBytes: await keepBytes(builder, total, policy),
		keepDuration: policy.keepDuration,
		only: new Set(wanted.flatMap(({ refs }) => refs)),
	}));
	return wanted.filter(({ refs }) => refs.every((ref) => gone.has(ref)));
}

/** As BuildKit reckons: without limits everything may go. */
async function keepBytes(builder: Builder, total: number, { reservedSpace, maxUsedSpace, minFreeSpace }: PrunePolicy): Promise<number> {
	if (reservedSpace === 0 && maxUsedSpace === 0 && minFreeSpace === 0) return 0;
	let keep = maxUsedSpace;
	if (minFreeSpace !== 0) {
		const { bavail, bsize } = await statfs(builder.root);
		const excess = minFreeSpace - bavail * bsize;
		if (excess > 0) keep = keep === 0 ? total - excess : Math.min(keep, total - excess);
		else if (keep === 0) keep = total;
	}
	return Math.max(keep, reservedSpace);
}

function fieldsOf(record: UsageRecord): FieldReader {
	return ([field]) => {
		switch (field) {
			case 'id': return record.id;
			case 'type': return record.type;
			case 'description': return record.description;
			case 'parents': return record.parents.join(';');
			case 'shared': return record.isShared ? '' : undefined;
			case 'inuse': case 'mutable': return undefined;
			case 'immutable': case 'private': return '';
			default: return undefined;
		}
	};
}

/** Runs the policies after builds, not more often than once a minute. */
export class GarbageCollector {
	#timer: NodeJS.Timeout | undefined;
	#last = 0;

	constructor(private readonly builder: Builder, private readonly policies: readonly PrunePolicy[], private readonly onError: (error: Error) => void) {}

	/** A build has ended. */
	schedule(): void {
		if (this.policies.length === 0 || this.#timer) return;
		const wait = Math.max(afterBuildMs, this.#last + intervalMs - Date.now());
		this.#timer = setTimeout(() => { void this.#run(); }, wait).unref();
	}

	close(): void {
		clearTimeout(this.#timer);
	}

	async #run(): Promise<void> {
		this.#timer = undefined;
		this.#last = Date.now();
		try {
			for (const policy of this.policies) await prune(this.builder, policy);
		} catch (error) {
			this.onError(error as Error);
		}
	}
}

const afterBuildMs = 1000;
const intervalMs = 60_000;
