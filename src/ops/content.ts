// Keys an input by the content of the files an op takes from it.
import { createHash } from 'node:crypto';
import { checksum, type TreeView } from '../native/files.js';
import type { InputKey, Result } from '../solver/index.js';
import { asOpResult } from './result.js';
import type { Worker } from './worker.js';

/** A selection of files inside an input. */
export interface Selector {
	readonly path: string;
	readonly wildcard: boolean;
	readonly followLinks: boolean;
	readonly includePatterns: readonly string[];
	readonly excludePatterns: readonly string[];
}

/** A whole file or directory. */
export function pathSelector(path: string, followLinks: boolean): Selector {
	return { path, wildcard: false, followLinks, includePatterns: [], excludePatterns: [] };
}

/** Runs `use` on the files of a result, mounted for reading if need be. */
export async function withTree<T>(worker: Worker, result: Result, signal: AbortSignal, use: (view: TreeView) => Promise<T>): Promise<T> {
	const input = asOpResult(result);
	if (input.kind === 'directory') return use(input.view);
	const mount = await worker.snapshots.view(input.snapshot, signal);
	try {
		return await use({ root: mount.root });
	} finally {
		await mount.release();
	}
}

/** The input key for ops that take just these selections; without selections, the whole input by definition. */
export function contentKey(worker: Worker, selectors: readonly Selector[]): InputKey {
	if (selectors.length === 0) return {};
	return {
		selector: JSON.stringify(selectors),
		content: (result, signal) => withTree(worker, result, signal, async (view) => {
			const digests = await Promise.all(selectors.map((selector) => checksum(view, selector, { statCache: worker.statCache, signal })));
			return `sha256:${createHash('sha256').update(digests.join('\n')).digest('hex')}`;
		}),
	};
}
