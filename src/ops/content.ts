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
	// Of several that are missing BuildKit names the last by path, so that one is looked for first.
	const ordered = withoutCovered(selections).sort((a, b) => compare(b.path ?? '', a.path ?? ''));
	const selector = JSON.stringify(ordered);
	return {
		selector,
		content: (result, signal) => withTree(worker, result, signal, async ({ tree }) => {
			try {
				const digests = await tree.checksums(ordered, { signal });
				return `sha256:${createHash('sha256').update(digests.join('\n')).digest('hex')}`;
			} catch (error) {
				signal.throwIfAborted();
				const missing = isEmpty(result) ? /^"(.*)": not found$/.exec((error as Error).message)?.[1] : undefined;
				if (missing !== undefined) throw new Error(`lstat ${missing}: no such file or directory`, { cause: error });
				throw new Error(`failed to compute cache key: failed to calculate checksum of ref ${refId(selector)}: ${(error as Error).message}`, { cause: error });
			}
		}),
	};
}

/** Nothing was made yet that could have a checksum: BuildKit looks for the files themselves. */
function isEmpty(result: Result): boolean {
	const input = asOpResult(result);
	return input.kind === 'snapshot' && input.snapshot.layers.length === 0;
}

/** Paths that lie in another one have their digest in that one's. What is missing there is an error of the op, not of the key. */
function withoutCovered(selections: readonly Selection[]): Selection[] {
	const isPlain = ({ wildcard, includePatterns = [], excludePatterns = [] }: Selection): boolean => !wildcard && includePatterns.length === 0 && excludePatterns.length === 0;
	const plain = selections.filter(isPlain);
	const isCovered = (one: Selection, i: number): boolean => isPlain(one) && plain.some((other) => {
		if (!other.followLinks !== !one.followLinks) return false;
		const [path = '/', base = '/'] = [one.path, other.path];
		return path === base ? selections.indexOf(other) < i : path.startsWith(base.endsWith('/') ? base : `${base}/`);
	});
	return selections.filter((one, i) => !isCovered(one, i));
}

function compare(a: string, b: string): number {
	return a < b ? -1 : a > b ? 1 : 0;
}

/** What stands where BuildKit's message has the ids of a worker and a snapshot: 25 letters and digits each. */
function refId(selector: string): string {
	const digest = createHash('sha256').update(selector).digest('hex');
	return `${digest.slice(0, 25)}::${digest.slice(25, 50)}`;
}
