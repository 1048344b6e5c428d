// Directories that a source fills: ours, and gone when the last build that uses them has ended.
import { mkdtemp } from 'node:fs/promises';
import path from 'node:path';
import { FileTree, removeTree } from '../native/files.js';
import type { SourceContent } from './source.js';

/** A new directory below `parent`, removed when `signal` aborts. */
export async function scratchDirectory(parent: string, prefix: string, signal: AbortSignal): Promise<string> {
	signal.throwIfAborted();
	const directory = await mkdtemp(path.join(parent, prefix));
	// What cannot be removed now goes with the builder's working directory.
	signal.addEventListener('abort', () => { removeTree(directory).catch(() => undefined); }, { once: true });
	return directory;
}

/** The files of such a directory as a source's content. */
export async function directoryContent(root: string, signal: AbortSignal): Promise<SourceContent> {
	const tree = await FileTree.open({ root });
	signal.addEventListener('abort', () => { tree.close(); }, { once: true });
	return { kind: 'directory', root, tree };
}
