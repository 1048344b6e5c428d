// A definition a frontend has handed in: solved when its result is wanted, and once. And what frontends see of
// a result: its files, read on native threads.
import type { Reference } from '../../frontend/index.js';
import { cleanPath, type Definition } from '../llb/index.js';
import { goFileMode, readDirInRoot, readFileInRoot, statInRoot, type FileEntry } from '../native/files.js';
import { toSnapshot, withTree, type Worker } from '../ops/index.js';
import type { Snapshot } from '../snapshot/index.js';
import type { Result } from '../solver/index.js';

/** No file a frontend reads is bigger: the limit is that of a gRPC message. */
const maxFileBytes = 16 * 1024 * 1024;

/** What a reference needs of the build it belongs to. */
export interface ReferenceHost {
	readonly worker: Worker;
	readonly signal: AbortSignal;
	/** Solves; an error of a vertex has the places in the sources it comes from. */
	run(): Promise<Result>;
}

export interface FileRange {
	readonly offset: number;
	readonly length: number;
}

/** Modes are Go's. */
export class BuildReference implements Reference {
	#result: Promise<Result> | undefined;

	constructor(readonly definition: Definition, private readonly host: ReferenceHost) {}

	/** Runs what has to run. */
	result(): Promise<Result> {
		return (this.#result ??= this.host.run());
	}

	/** The result as layers: a directory of the client becomes one. */
	async snapshot(): Promise<Snapshot> {
		return toSnapshot(this.host.worker, await this.result(), this.host.signal);
	}

	readFile(path: string, range?: FileRange): Promise<Uint8Array> {
		return this.#within((root) => readFileIn(root, path, range));
	}

	readDir(path: string, includePattern?: string): Promise<readonly FileEntry[]> {
		return this.#within((root) => readDirIn(root, path, includePattern));
	}

	statFile(path: string): Promise<FileEntry> {
		return this.#within((root) => statFileIn(root, path));
	}

	async #within<T>(use: (root: string) => Promise<T>): Promise<T> {
		return withTree(this.host.worker, await this.result(), this.host.signal, ({ root }) => use(root));
	}
}

export function readFileIn(root: string, path: string, range?: FileRange): Promise<Uint8Array> {
	return readFileInRoot(root, path, { maxBytes: maxFileBytes, ...range });
}

/** A disk's own lost+found is no file of the result. */
export async function readDirIn(root: string, path: string, includePattern?: string): Promise<readonly FileEntry[]> {
	const isTop = cleanPath(`/${path}`) === '/';
	return (await readDirInRoot(root, path, includePattern)).filter((entry) => !isTop || entry.path !== 'lost+found').map(withGoMode);
}

/** Symlinks are followed, the last one too, as BuildKit does. */
export async function statFileIn(root: string, path: string): Promise<FileEntry> {
	return withGoMode(await statInRoot(root, path, { follow: true }));
}

function withGoMode(entry: FileEntry): FileEntry {
	return { ...entry, mode: goFileMode(entry.mode) };
}
