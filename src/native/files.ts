// File work on native threads: what a build selects, hashes, copies, packs and unpacks. Nothing here runs on
// the event loop or in libuv's pool, and no path can leave the root it is given with: symlinks and `..` are
// resolved inside it, as in a chroot. Errors carry `code` ('ENOENT', ...) where a system error stands behind.
import { nativeAddon } from './index.js';

/** Opaque handles of the addon. */
type TaskHandle = { readonly __task: never };
type TreeHandle = { readonly __tree: never };
type SinkHandle = { readonly __sink: never };

interface Addon {
	filesTaskNew(): TaskHandle;
	filesTaskCancel(task: TaskHandle): void;
	filesTaskCounters(task: TaskHandle): [number, number];
	filesTreeOpen(view: TreeView): Promise<TreeHandle>;
	filesTreeClose(tree: TreeHandle): void;
	filesTreeChecksum(task: TaskHandle, tree: TreeHandle, selections: readonly Selection[]): Promise<string[]>;
	filesRunActions(task: TaskHandle, root: string, actions: readonly object[]): Promise<void>;
	filesRunNotedCopies(task: TaskHandle, root: string, actions: readonly object[], former: string | undefined, notes: string): Promise<CopyNotes | undefined>;
	filesSinkOpen(task: TaskHandle, root: string, options: UnpackOptions): Promise<SinkHandle>;
	filesSinkWrite(sink: SinkHandle, chunk: Uint8Array): boolean;
	filesSinkWaitRoom(sink: SinkHandle): Promise<void>;
	filesSinkEnd(sink: SinkHandle): Promise<UnpackResult>;
	filesSinkAbort(sink: SinkHandle): Promise<void>;
	filesUnpackTar(task: TaskHandle, file: string, root: string, options: UnpackOptions): Promise<UnpackResult>;
	filesIsArchive(root: string, path: string): Promise<boolean>;
	filesWriteChangeset(task: TaskHandle, options: ChangesetOptions): Promise<BlobResult>;
	filesWriteRootTar(task: TaskHandle, options: RootTarOptions): Promise<BlobResult>;
	filesExportTree(task: TaskHandle, options: ExportTreeOptions): Promise<void>;
	filesReadFile(root: string, path: string, options: ReadFileOptions): Promise<Buffer>;
	filesStat(root: string, path: string, follow: boolean): Promise<FileEntry>;
	filesResolve(root: string, path: string): Promise<string>;
	filesReadDir(root: string, path: string, includePattern: string): Promise<FileEntry[]>;
	filesEnsureMountpoint(root: string, path: string, directory: boolean): Promise<string[]>;
	filesRemoveCreated(root: string, created: readonly string[]): Promise<void>;
	filesRemoveTree(path: string): Promise<void>;
}

const addon = (): Addon => nativeAddon() as Addon;

/** Counters of file work, to be read whenever a progress display wants them. Calls that share one are cancelled together. */
export class FileProgress {
	/** @internal */
	readonly task: TaskHandle = addon().filesTaskNew();

	/** Bytes of file content read (hashing) or written (copying, unpacking) so far. */
	get bytes(): number {
		return addon().filesTaskCounters(this.task)[0];
	}

	/** Files done so far. */
	get files(): number {
		return addon().filesTaskCounters(this.task)[1];
	}
}

export interface FileTaskOptions {
	/** Aborting rejects the call with `code` 'ECANCELED' and message "context canceled", within one buffer's work. */
	readonly signal?: AbortSignal | undefined;
	readonly progress?: FileProgress | undefined;
}

async function runTask<T>(options: FileTaskOptions | undefined, start: (task: TaskHandle) => Promise<T>): Promise<T> {
	const task = options?.progress?.task ?? addon().filesTaskNew();
	const cancel = (): void => addon().filesTaskCancel(task);
	const signal = options?.signal;
	if (signal?.aborted) {
		cancel();
	}
	signal?.addEventListener('abort', cancel, { once: true });
	try {
		return await start(task);
	} finally {
		signal?.removeEventListener('abort', cancel);
	}
}

/** Which files of a directory a build sees. */
export interface TreeView {
	/** Absolute path of the directory on this machine. */
	readonly root: string;
	/** Only what matches one of these (.dockerignore language); none = everything. */
	readonly includePatterns?: readonly string[] | undefined;
	/** .dockerignore lines, `!` exceptions included. */
	readonly excludePatterns?: readonly string[] | undefined;
	/** Paths to include together with all that their symlinks lead to (`local.followpaths`). */
	readonly followPaths?: readonly string[] | undefined;
	/** Everything belongs to 0:0, as BuildKit's client sends a local context. The root's own metadata does not count. */
	readonly resetOwner?: boolean | undefined;
	/** The root is a file system obd made: its top-level lost+found is not there. */
	readonly skipLostFound?: boolean | undefined;
	/**
	 * File that remembers the content digests of this root between runs; its directory is there. Only for roots that
	 * stay where they are: a mount's path does not tell what is mounted there.
	 */
	readonly statCache?: string | undefined;
}

/** What a copy takes of a tree, for its cache key. As BuildKit's `opsutils.Selector`. */
export interface Selection {
	/** Default `/`. */
	readonly path?: string | undefined;
	readonly wildcard?: boolean | undefined;
	readonly followLinks?: boolean | undefined;
	readonly includePatterns?: readonly string[] | undefined;
	readonly excludePatterns?: readonly string[] | undefined;
	readonly requiredPaths?: readonly string[] | undefined;
}

/**
 * A directory as it was when its parts were first looked at. Directories are read on demand and once; a later
 * copy from the same tree fails with `file "x" changed during the build` when a file is no longer the one that
 * was seen.
 */
export class FileTree {
	private constructor(
		/** @internal */
		readonly handle: TreeHandle,
	) {}

	/** Fails with ENOENT/ENOTDIR when the root is no directory, and for malformed patterns. */
	static async open(view: TreeView): Promise<FileTree> {
		return new FileTree(await addon().filesTreeOpen(view));
	}

	/**
	 * `sha256:...` of what a copy of the selection would bring: paths, modes, owners, sizes, link targets, device
	 * numbers, xattrs and content, not times (as BuildKit's cache/contenthash; the values are our own). Fails with
	 * `"/x": not found` (ENOENT) when the path, or a required one, does not exist.
	 */
	async checksum(selection: Selection = {}, options?: FileTaskOptions): Promise<string> {
		const [digest] = await this.checksums([selection], options);
		return digest as string;
	}

	/** Several selections in one pass, in their order. */
	checksums(selections: readonly Selection[], options?: FileTaskOptions): Promise<string[]> {
		return runTask(options, (task) => addon().filesTreeChecksum(task, this.handle, selections));
	}

	/** Frees the tree's memory; running work ends as it would. Later calls fail. Idempotent. */
	close(): void {
		addon().filesTreeClose(this.handle);
	}
}

export interface Owner {
	readonly uid: number;
	readonly gid: number;
}

interface Stamp {
	/** undefined: root's, or the copied file's. */
	readonly owner?: Owner | undefined;
	/** For both times, nanoseconds since the epoch. undefined: now, or the copied file's mtime. */
	readonly timestamp?: bigint | undefined;
}

/** BuildKit's `pb.FileAction*`, names resolved to ids. Paths are inside the target root; modes are octal bits. */
export type FileAction =
	| ({ readonly type: 'mkdir'; readonly path: string; readonly mode: number; readonly makeParents?: boolean | undefined } & Stamp)
	| ({ readonly type: 'mkfile'; readonly path: string; readonly mode: number; readonly data: Uint8Array } & Stamp)
	/** `oldPath` is what it points to, `newPath` where it is made. */
	| ({ readonly type: 'symlink'; readonly oldPath: string; readonly newPath: string } & Stamp)
	| { readonly type: 'rm'; readonly path: string; readonly allowNotFound?: boolean | undefined; readonly allowWildcard?: boolean | undefined }
	| CopyFileAction;

export interface CopyFileAction extends Stamp {
	readonly type: 'copy';
	readonly source: FileTree;
	/** Path in the source tree; a trailing `/` or `/.` counts as in BuildKit. */
	readonly src: string;
	readonly dest: string;
	/** Up to 07777; undefined keeps the source's. */
	readonly mode?: number | undefined;
	/** Symbolic mode (`u+rwX,go=rX`); wins over `mode`. '' or undefined: none. */
	readonly modeStr?: string | undefined;
	readonly followSymlink?: boolean | undefined;
	readonly dirCopyContents?: boolean | undefined;
	/** A source file that is a tar archive (compressed or not) is unpacked into `dest`. */
	readonly attemptUnpack?: boolean | undefined;
	readonly createDestPath?: boolean | undefined;
	readonly allowWildcard?: boolean | undefined;
	readonly allowEmptyWildcard?: boolean | undefined;
	readonly includePatterns?: readonly string[] | undefined;
	readonly excludePatterns?: readonly string[] | undefined;
	readonly alwaysReplaceExistingDestPaths?: boolean | undefined;
	/** Source paths that must be among the copied ones; else `"/x": not found`. */
	readonly requiredPaths?: readonly string[] | undefined;
}

/**
 * Runs the actions in order on a mounted tree, with BuildKit's FileOp semantics and error texts. Keeps modes, mtimes,
 * hard links (within one copy), xattrs, holes and devices. What was done before an error stays.
 */
export function runFileActions(targetRoot: string, actions: readonly FileAction[], options?: FileTaskOptions): Promise<void> {
	return runTask(options, (task) => addon().filesRunActions(task, targetRoot, actions.map(plain)));
}

function plain(action: FileAction): object {
	return action.type === 'copy' ? { ...action, source: action.source.handle } : action;
}

/** A file of notes on what copies wrote. */
export interface CopyNotes {
	/** `sha256:...` */
	readonly digest: string;
	/** Bytes; 0 when there is no file, because no later run could go on from this one. */
	readonly size: number;
}

/**
 * Runs copies, none of them unpacking, and writes notes on what they did to the new file `notes`. With `former`, the
 * notes of an earlier run, the target holds that one's result, on the same files and by the same actions, and only what
 * has changed since is copied. Resolves with undefined when that cannot give what copies to the files below would; the
 * target is worth nothing then, as after an error.
 */
export function runNotedCopies(targetRoot: string, actions: readonly CopyFileAction[], notes: string, former: string | undefined, options?: FileTaskOptions): Promise<CopyNotes | undefined> {
	return runTask(options, (task) => addon().filesRunNotedCopies(task, targetRoot, actions.map(plain), former, notes));
}

export interface UnpackOptions {
	/**
	 * `layer`: an OCI layer; whiteouts take away what was there before, but nothing this layer brought itself.
	 * `archive`: a user's archive (ADD); every name is a name. In both, what exists is replaced, a directory over a
	 * directory keeps its entries and takes the new metadata, and the root's own entry is ignored.
	 */
	readonly mode: 'layer' | 'archive';
	/** Of everything, instead of what the archive says. */
	readonly owner?: Owner | undefined;
}

export interface UnpackResult {
	/** `sha256:...` of the bytes as given. */
	readonly digest: string;
	/** `sha256:...` of the uncompressed tar. */
	readonly diffId: string;
	/** Bytes as given. */
	readonly size: number;
	/** Entries of the archive. */
	readonly files: number;
}

/**
 * Unpacks a tar (plain, gzip, bzip2, xz or zstd) into a root while it arrives. Names, links and symlinked parents stay
 * inside the root. Decompression and file creation run on threads of their own.
 */
export class TarSink {
	readonly #handle: SinkHandle;

	private constructor(handle: SinkHandle) {
		this.#handle = handle;
	}

	static async open(root: string, mode: UnpackOptions['mode'], options: Omit<UnpackOptions, 'mode'> & Omit<FileTaskOptions, 'signal'> = {}): Promise<TarSink> {
		const task = options.progress?.task ?? addon().filesTaskNew();
		return new TarSink(await addon().filesSinkOpen(task, root, { mode, owner: options.owner }));
	}

	/** Takes the next bytes (copied); resolves when there is room for more. Rejects with what unpacking failed with. */
	async write(chunk: Uint8Array): Promise<void> {
		if (!addon().filesSinkWrite(this.#handle, chunk)) await addon().filesSinkWaitRoom(this.#handle);
	}

	/** No more bytes: waits until everything is unpacked. Afterwards the sink is closed. */
	async end(): Promise<UnpackResult> {
		return addon().filesSinkEnd(this.#handle);
	}

	/** Stops; what was unpacked stays. Resolves when no thread works any more. Fine after `end` and twice. */
	abort(): Promise<void> {
		return addon().filesSinkAbort(this.#handle);
	}
}

/** Unpacks a tar file of this machine into a root, as `TarSink` does. */
export function unpackTar(file: string, root: string, options: UnpackOptions & FileTaskOptions): Promise<UnpackResult> {
	return runTask(options, (task) => addon().filesUnpackTar(task, file, root, options));
}

/** Whether a path of a root is a regular file that begins, once decompressed, with a tar header: what ADD unpacks. */
export function isArchive(root: string, path: string): Promise<boolean> {
	return addon().filesIsArchive(root, path);
}

export interface BlobResult {
	/** `sha256:...` of the bytes written. */
	readonly digest: string;
	/** `sha256:...` of the uncompressed tar. */
	readonly diffId: string;
	/** Bytes written. */
	readonly size: number;
}

export interface ChangesetOptions {
	/** Root of the tree below; none for a first layer. */
	readonly lower?: string | undefined;
	/** Root of the tree above: a block-level descendant of the lower one, or any tree. */
	readonly upper: string;
	/** A path (created, truncated when it exists, removed when writing fails) or an open descriptor. */
	readonly out: string | number;
	readonly compression: 'uncompressed' | 'gzip' | 'zstd';
	/** The codec's level; default zlib 6, zstd 3. */
	readonly level?: number | undefined;
	/** Seconds since the epoch; later modification times become this. */
	readonly sourceDateEpoch?: number | undefined;
	/** To be unpacked over another tree, and no layer: with a lower tree only, with all xattrs, times to the nanosecond, and no name of a file that did not change. */
	readonly exact?: boolean;
}

/**
 * Writes the changes between two mounted trees as an OCI layer: entries, order and headers as containerd's differ
 * makes them, whiteouts for what is gone, of the xattrs only security.capability, no top-level lost+found. The same
 * trees always give the same bytes.
 */
export function writeChangeset(options: ChangesetOptions, task?: FileTaskOptions): Promise<BlobResult> {
	return runTask(task, (handle) => addon().filesWriteChangeset(handle, options));
}

export interface RootTarOptions {
	readonly root: string;
	/** A path (created, truncated when it exists, removed when writing fails) or an open descriptor. */
	readonly out: string | number;
	/** Seconds since the epoch; all modification times become this. */
	readonly sourceDateEpoch?: number | undefined;
}

/** Writes a mounted tree as one tar, as BuildKit's tar exporter does (all xattrs, no top-level lost+found). */
export function writeRootTar(options: RootTarOptions, task?: FileTaskOptions): Promise<BlobResult> {
	return runTask(task, (handle) => addon().filesWriteRootTar(handle, options));
}

export interface ExportTreeOptions {
	readonly root: string;
	/** An existing directory; what is in it stays, except what is replaced. */
	readonly dest: string;
	/** Seconds since the epoch; all modification times become this. */
	readonly sourceDateEpoch?: number | undefined;
}

/**
 * Copies a mounted tree into a directory, as BuildKit's local exporter does: everything belongs to the calling user,
 * there is no top-level lost+found.
 */
export function exportTree(options: ExportTreeOptions, task?: FileTaskOptions): Promise<void> {
	return runTask(task, (handle) => addon().filesExportTree(handle, options));
}

export interface ReadFileOptions {
	/** Byte to start at; default 0. */
	readonly offset?: number | undefined;
	/** Bytes to read at most; default to the end. */
	readonly length?: number | undefined;
	/** Fails with EFBIG when that would be more; default 64 MiB. */
	readonly maxBytes?: number | undefined;
}

/** Reads a regular file of a mounted tree; symlinks are followed inside the root. */
export function readFileInRoot(root: string, path: string, options: ReadFileOptions = {}): Promise<Buffer> {
	return addon().filesReadFile(root, path, options);
}

export interface FileEntry {
	/** The last component of the path asked for; in a listing the name in the directory. */
	readonly path: string;
	/** st_mode: type and permissions as the kernel has them; `goFileMode` gives Go's layout. */
	readonly mode: number;
	readonly uid: number;
	readonly gid: number;
	readonly size: number;
	/** Modification time, nanoseconds since the epoch. */
	readonly mtimeNs: bigint;
	/** A symlink's target. */
	readonly linkname?: string;
}

/** Metadata of a path. With `follow`, a symlink in its last place is followed inside the root. */
export function statInRoot(root: string, path: string, options: { readonly follow?: boolean } = {}): Promise<FileEntry> {
	return addon().filesStat(root, path, options.follow ?? false);
}

/** The path on this machine of a path in a root, all symlinks resolved inside it. Fails with ENOENT when it does not exist. */
export function resolveInRoot(root: string, path: string): Promise<string> {
	return addon().filesResolve(root, path);
}

/** Entries of a directory by name. With a pattern (.dockerignore language): those that match or lead to a match. */
export function readDirInRoot(root: string, path: string, includePattern = ''): Promise<FileEntry[]> {
	return addon().filesReadDir(root, path, includePattern);
}

/** st_mode in the layout of Go's os.FileMode, as fsutil's types.Stat and the gateway API carry it. */
export function goFileMode(mode: number): number {
	const types: Readonly<Record<number, number>> = {
		0o040000: 2 ** 31, // ModeDir
		0o120000: 2 ** 27, // ModeSymlink
		0o060000: 2 ** 26, // ModeDevice
		0o010000: 2 ** 25, // ModeNamedPipe
		0o140000: 2 ** 24, // ModeSocket
		0o020000: 2 ** 26 + 2 ** 21, // ModeDevice | ModeCharDevice
	};
	let out = (mode & 0o777) + (types[mode & 0o170000] ?? 0);
	if (mode & 0o4000) out += 2 ** 23;
	if (mode & 0o2000) out += 2 ** 22;
	if (mode & 0o1000) out += 2 ** 20;
	return out;
}

/**
 * Makes the target of a mount, with the directories it lies in, when it is not there (0755, 0:0); the times of
 * directories that were there stay. Returns the paths made, outermost first, for `removeCreated`. Fails with
 * ENOTDIR/EISDIR when it is there but of the other kind.
 */
export function ensureMountpoint(root: string, path: string, kind: 'file' | 'dir'): Promise<string[]> {
	return addon().filesEnsureMountpoint(root, path, kind === 'dir');
}

/** Takes away what `ensureMountpoint` made, as far as it is still empty. */
export function removeCreated(root: string, created: readonly string[]): Promise<void> {
	return addon().filesRemoveCreated(root, created);
}

/** rm -rf of a path on this machine; symlinks are removed, never followed. A missing path is fine. */
export function removeTree(path: string): Promise<void> {
	return addon().filesRemoveTree(path);
}
