// Directories of the store that are no blobs: cache mounts, what clients have sent, repositories. They are shown
// and pruned by themselves, between builds: what a running build uses of them nobody has written down.
import { lstat, readdir } from 'node:fs/promises';
import path from 'node:path';
import { removeTree } from '../native/files.js';
import type { UsageRecord } from './usage.js';

export interface DirectoryKind {
	/** Its directories are below this one. */
	readonly base: string;
	/** BuildKit's record type. */
	readonly type: string;
	readonly description: string;
}

/** One record a directory. */
export async function directoryRecords(kinds: readonly DirectoryKind[]): Promise<UsageRecord[]> {
	const all = await Promise.all(kinds.map(async ({ base, type, description }) => {
		const names = await readdir(base).catch(() => []); // none has been needed yet
		return Promise.all(names.map(async (name): Promise<UsageRecord> => {
			const directory = path.join(base, name);
			const info = await lstat(directory);
			return {
				id: name.slice(0, 25), parents: [], size: await sizeOf(directory), createdAt: info.birthtime, lastUsedAt: info.mtime, usageCount: 1,
				description, type, isShared: false, refs: [`${directoryRef}${directory}`],
			};
		}));
	}));
	return all.flat();
}

const directoryRef = 'directory:';

/** The directories among the references of usage records. */
export function directoriesOf(refs: Iterable<string>): string[] {
	return [...refs].flatMap((ref) => (ref.startsWith(directoryRef) ? [ref.slice(directoryRef.length)] : []));
}

export async function removeDirectories(directories: readonly string[]): Promise<void> {
	for (const directory of directories) await removeTree(directory);
}

/** Bytes on the disk; what vanishes meanwhile counts nothing. */
async function sizeOf(file: string): Promise<number> {
	const info = await lstat(file).catch(() => undefined);
	if (!info) return 0;
	const own = info.blocks * 512;
	if (!info.isDirectory()) return own;
	let sum = own;
	for (const name of await readdir(file).catch(() => [])) sum += await sizeOf(path.join(file, name));
	return sum;
}
