import { runFileActions, type FileTree } from '../native/files.js';
import { scratch, type Snapshot } from '../snapshot/index.js';
import type { Result } from '../solver/index.js';
import type { Changed } from './changes.js';
import { asOpResult } from './result.js';
import { uuidOf } from './uuid.js';
import type { Worker } from './worker.js';

/** A result as a snapshot that can be written on: the files of a directory are copied onto an empty file system. */
export async function toSnapshot(worker: Worker, result: Result, signal: AbortSignal): Promise<Snapshot> {
	const input = asOpResult(result);
	return input.kind === 'snapshot' ? input.snapshot : input.asSnapshot(() => copyOf(worker, input.tree, signal));
}

/** The same, with what was laid to make it. */
export async function toChanged(worker: Worker, result: Result, signal: AbortSignal): Promise<Changed> {
	const input = asOpResult(result);
	return input.kind === 'snapshot' ? input : { snapshot: await toSnapshot(worker, result, signal) };
}

async function copyOf(worker: Worker, tree: FileTree, signal: AbortSignal): Promise<Snapshot> {
	const mount = await worker.snapshots.writable(scratch, signal);
	try {
		await runFileActions(mount.root, [{ type: 'copy', source: tree, src: '/', dest: '/', dirCopyContents: true, createDestPath: true }], { signal });
		return await mount.commit(uuidOf(await tree.checksum({}, { signal }), 0));
	} finally {
		await mount.abort();
	}
}
