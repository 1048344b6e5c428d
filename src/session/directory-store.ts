// The blobs of an OCI layout directory on this host as a content store.
import { randomBytes } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { ContentStore } from './index.js';

/** Blobs below `directory/blobs/ALGORITHM/`, which is made at the first write. */
export function directoryStore(directory: string): ContentStore {
	const fileOf = (digest: string): string => {
		const [, algorithm, hex] = /^([a-z0-9]+):([a-f0-9]{32,128})$/.exec(digest) ?? [];
		if (algorithm === undefined || hex === undefined) throw new Error(`${directory}: ${JSON.stringify(digest)} is no digest`);
		return path.join(directory, 'blobs', algorithm, hex);
	};
	return {
		size: async (digest) => {
			const stats = await stat(fileOf(digest)).catch((error: NodeJS.ErrnoException) => {
				if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
				throw error;
			});
			return stats?.isFile() ? stats.size : undefined;
		},
		read: (digest, { offset = 0, signal }) => createReadStream(fileOf(digest), { start: offset, highWaterMark: 1 << 20, signal }),
		write: async ({ digest, size }, content, signal) => {
			const file = fileOf(digest);
			const existing = await stat(file).catch(() => undefined);
			if (existing?.size === size) return;
			await mkdir(path.dirname(file), { recursive: true });
			const temporary = `${file}.${randomBytes(6).toString('hex')}.tmp`;
			try {
				await pipeline(content(), createWriteStream(temporary, { flags: 'wx' }), { signal });
				await rename(temporary, file);
			} finally {
				await rm(temporary, { force: true });
			}
		},
	};
}
