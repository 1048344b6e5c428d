// Persistent cache directories (`RUN --mount=type=cache`): plain directories of the store, one an id, or
// several for private ones in use at the same time. They survive builds and are never part of an image.
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MountType, type Vertex } from '../llb/index.js';
import { removeTree } from '../native/files.js';
import { tryLockFile, type FileLock } from '../native/system.js';

const lockedRetryMs = 100;
const dropped = 'dropped-';

/** Which cache is meant. */
export interface CacheMountName {
	readonly id: string;
	/** What it starts from: caches that start from different contents are different caches, whatever their id. */
	readonly from?: string;
}

export class CacheMount {
	private constructor(
		/** The directory to mount. */
		readonly path: string,
		/** True for its first use ever: the caller fills it. */
		readonly fresh: boolean,
		private readonly locks: readonly FileLock[],
		private readonly user: string,
	) {}

	/** Takes the directory: with others (shared), alone with a second one if need be (private), or waiting (locked). */
	static async take(base: string, name: CacheMountName, sharing: 'SHARED' | 'PRIVATE' | 'LOCKED', signal: AbortSignal): Promise<CacheMount> {
		const dir = path.join(base, directoryName(name));
		await mkdir(path.join(dir, 'users'), { recursive: true, mode: 0o711 });
		if (sharing === 'SHARED') return CacheMount.#open(dir, 0, []);
		for (let n = 0; ; n = sharing === 'PRIVATE' ? n + 1 : 0) {
			signal.throwIfAborted();
			const lock = await tryLockFile(path.join(dir, `${n}.lock`));
			if (lock) return CacheMount.#open(dir, n, [lock]);
			if (sharing === 'LOCKED') await sleep(lockedRetryMs, undefined, { signal });
		}
	}

	static async #open(dir: string, n: number, locks: readonly FileLock[]): Promise<CacheMount> {
		const user = path.join(dir, 'users', randomUUID());
		const use = await tryLockFile(user);
		const data = path.join(dir, String(n));
		const fresh = (await mkdir(data, { recursive: true, mode: 0o755 })) !== undefined;
		return new CacheMount(data, fresh, use ? [...locks, use] : locks, user);
	}

	async release(): Promise<void> {
		await rm(this.user, { force: true });
		await Promise.all(this.locks.map((lock) => lock.release()));
	}
}

/**
 * Forgets a cache, or all that have its id and start from something: whoever takes it next begins anew. Its files
 * are removed, unless a step is using them: then at the next call.
 */
async function dropCacheMounts(base: string, id: string, startsFromSomething: boolean): Promise<void> {
	const name = directoryName({ id });
	const isMeant = (entry: string): boolean => (startsFromSomething ? entry.startsWith(`${name}-`) : entry === name);
	for (const entry of await namesIn(base)) {
		if (isMeant(entry)) await rename(path.join(base, entry), path.join(base, `${dropped}${randomUUID()}`)).catch(ignoreMissing);
	}
	for (const entry of await namesIn(base)) {
		if (entry.startsWith(dropped) && await isUnused(path.join(base, entry))) await removeTree(path.join(base, entry));
	}
}

/** Steps whose cache is ignored (`--no-cache`) begin with empty cache directories. */
export async function dropIgnoredCacheMounts(base: string, vertices: readonly Vertex[]): Promise<void> {
	for (const { kind, metadata } of vertices) {
		if (!metadata.ignoreCache || kind.$case !== 'exec') continue;
		for (const { mountType, cacheOpt, dest, input } of kind.exec.mounts) {
			if (mountType === MountType.CACHE && cacheOpt) await dropCacheMounts(base, cacheOpt.ID || dest, input !== -1);
		}
	}
}

async function isUnused(dir: string): Promise<boolean> {
	for (const user of await namesIn(path.join(dir, 'users'))) {
		const lock = await tryLockFile(path.join(dir, 'users', user));
		if (!lock) return false;
		await lock.release();
	}
	return true;
}

function directoryName({ id, from }: CacheMountName): string {
	const digest = (text: string): string => createHash('sha256').update(text).digest('hex');
	return from === undefined ? digest(id) : `${digest(id)}-${digest(from)}`;
}

function namesIn(directory: string): Promise<string[]> {
	return readdir(directory).catch((error: unknown) => ignoreMissing(error) ?? []);
}

function ignoreMissing(error: unknown): undefined {
	if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
}
