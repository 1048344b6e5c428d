// Persistent cache directories (`RUN --mount=type=cache`): plain directories of the store, one an id, or
// several for private ones in use at the same time. They survive builds and are never part of an image.
import { createHash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { tryLockFile, type FileLock } from '../native/system.js';

const lockedRetryMs = 100;

export class CacheMount {
	private constructor(
		/** The directory to mount. */
		readonly path: string,
		/** True for its first use ever: the caller fills it. */
		readonly fresh: boolean,
		private readonly lock: FileLock | undefined,
	) {}

	/** Takes the directory of `id`: with others (shared), alone with a second one if need be (private), or waiting (locked). */
	static async take(base: string, id: string, sharing: 'SHARED' | 'PRIVATE' | 'LOCKED', signal: AbortSignal): Promise<CacheMount> {
		const dir = path.join(base, createHash('sha256').update(id).digest('hex'));
		await mkdir(dir, { recursive: true, mode: 0o711 });
		if (sharing === 'SHARED') return CacheMount.#open(dir, 0, undefined);
		for (let n = 0; ; n = sharing === 'PRIVATE' ? n + 1 : 0) {
			signal.throwIfAborted();
			const lock = await tryLockFile(path.join(dir, `${n}.lock`));
			if (lock) return CacheMount.#open(dir, n, lock);
			if (sharing === 'LOCKED') await sleep(lockedRetryMs, undefined, { signal });
		}
	}

	static async #open(dir: string, n: number, lock: FileLock | undefined): Promise<CacheMount> {
		const data = path.join(dir, String(n));
		const fresh = (await mkdir(data, { recursive: true, mode: 0o755 })) !== undefined;
		return new CacheMount(data, fresh, lock);
	}

	async release(): Promise<void> {
		await this.lock?.release();
	}
}
