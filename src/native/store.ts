// The store's metadata database: LMDB, sorted text keys to text values, for several processes at once. Reads
// are synchronous (a memory map); writes are committed off this thread, in the order of the calls.
import { nativeAddon } from './index.js';

type Handle = { readonly __metadata: never };

interface StoreAddon {
	metadataOpen(path: string): Handle;
	metadataGet(handle: Handle, key: string): string | undefined;
	metadataRange(handle: Handle, prefix: string, after: string, limit: number): string[];
	metadataWrite(handle: Handle, writes: readonly (number | string)[]): Promise<void>;
	metadataBegin(handle: Handle): void;
	metadataApply(handle: Handle, writes: readonly (number | string)[]): void;
	metadataCommit(handle: Handle): void;
	metadataAbort(handle: Handle): void;
	metadataClose(handle: Handle): void;
}

const addon = (): StoreAddon => nativeAddon() as StoreAddon;

/** `update` is a put that does nothing when the key is gone; `deletePrefix` deletes all keys that start with `key`. */
export type MetadataWrite =
	| { readonly kind: 'put' | 'update'; readonly key: string; readonly value: string }
	| { readonly kind: 'delete' | 'deletePrefix'; readonly key: string };

/** In the order of MetadataWrite::Kind. */
const kinds = ['put', 'update', 'delete', 'deletePrefix'] as const;
/** Entries fetched at a time. */
const rangeSize = 256;

/** An open database file. Keys have 1 to 511 bytes. */
export class MetadataDatabase {
	readonly #handle: Handle;

	/** Opens or creates the file. Errors carry `code` where the system gave one. */
	constructor(path: string) {
		this.#handle = addon().metadataOpen(path);
	}

	get(key: string): string | undefined {
		return addon().metadataGet(this.#handle, key);
	}

	/** Entries whose key starts with `prefix`, in the order of the keys' bytes. Outside of a transaction others may write meanwhile. */
	*range(prefix: string): IterableIterator<readonly [key: string, value: string]> {
		for (let after = ''; ;) {
			const entries = addon().metadataRange(this.#handle, prefix, after, rangeSize);
			for (let i = 0; i < entries.length; i += 2) yield [entries[i] as string, entries[i + 1] as string];
			if (entries.length < rangeSize * 2) return;
			after = entries.at(-2) as string;
		}
	}

	/** The first key after `after`. */
	nextKey(after: string): string | undefined {
		return addon().metadataRange(this.#handle, '', after, 1)[0];
	}

	/** Does all of these writes, or none. Resolves when they are committed. */
	write(writes: readonly MetadataWrite[]): Promise<void> {
		return addon().metadataWrite(this.#handle, flatten(writes));
	}

	/**
	 * Runs `body` alone among all writers of all processes; reads in it see its own writes. An exception undoes
	 * them. It blocks this thread, also while it waits for others to finish.
	 */
	exclusive<R>(body: (write: (writes: readonly MetadataWrite[]) => void) => R): R {
		addon().metadataBegin(this.#handle);
		try {
			const result = body((writes) => addon().metadataApply(this.#handle, flatten(writes)));
			addon().metadataCommit(this.#handle);
			return result;
		} catch (error) {
			addon().metadataAbort(this.#handle);
			throw error;
		}
	}

	/** Writes already called for still happen. */
	close(): void {
		addon().metadataClose(this.#handle);
	}
}

function flatten(writes: readonly MetadataWrite[]): (number | string)[] {
	return writes.flatMap((write) => [kinds.indexOf(write.kind), write.key, 'value' in write ? write.value : '']);
}
