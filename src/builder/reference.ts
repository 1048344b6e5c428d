// What a frontend sees of a solved result: its files, read on native threads.
import type { FileStat, Reference } from '../../frontend/client.js';
import { goFileMode, readDirInRoot, readFileInRoot, statInRoot, type FileEntry } from '../native/files.js';
import { withTree, type Worker } from '../ops/index.js';
import type { Result } from '../solver/index.js';

/** No file a frontend reads is bigger; BuildKit's limit is that of a gRPC message. */
const maxFileBytes = 64 * 1024 * 1024;

export function fileReference(worker: Worker, result: Result, signal: AbortSignal): Reference {
	return {
		readFile: (path, range) => withTree(worker, result, signal, ({ root }) => readFileInRoot(root, path, { maxBytes: maxFileBytes, ...range })),
		readDir: (path, includePattern) => withTree(worker, result, signal, async ({ root }) => (await readDirInRoot(root, path, includePattern)).map(fileStat)),
		statFile: (path) => withTree(worker, result, signal, async ({ root }) => fileStat(await statInRoot(root, path))),
	};
}

function fileStat({ path, mode, size, linkname }: FileEntry): FileStat {
	return { path, mode: goFileMode(mode), size, ...(linkname !== undefined && { linkname }) };
}
