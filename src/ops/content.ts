// Keys an input by the content of the files an op takes from it.
import { createHash } from 'node:crypto';
import { FileTree, type Selection } from '../native/files.js';
import type { InputKey, Result } from '../solver/index.js';
import { asOpResult } from './result.js';
import type { Worker } from './worker.js';

/** The files of a result, for reading. */
export interface Tree {
	readonly root: string;
	readonly tree: FileTree;
}

/** Runs `use` on the files of a result, mounted for reading if need be. */
export async function withTree<T>(worker: Worker, result: Result, signal: AbortSignal, use: (tree: Tree) => Promise<T>): Promise<T> {
	const input = asOpResult(result);
	if (input.kind === 'directory') return use(input);
	const mount = await worker.snapshots.view(input.snapshot, signal);
	try {
		const tree = await FileTree.open({ root: mount.root, skipLostFound: true });
		try {
			return await use({ root: mount.root, tree });
		} finally {
			tree.close();
		}
	} finally {
		await mount.release();
	}
}

/** The input key for ops that take just these selections; without selections, the whole input by definition. */
export function contentKey(worker: Worker, selections: readonly Selection[]): InputKey {
	if (selections.length === 0) return {};
	return {
		selector: JSON.stringify(selections),
		content: (result, signal) => withTree(worker, result, signal, async ({ tree }) => {
			const digests = await tree.checksums(selections, { signal });
			return `sha256:${createHash('sha256').update(digests.join('\n')).digest('hex')}`;
		}),
	};
}
