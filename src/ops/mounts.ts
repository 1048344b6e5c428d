// What a container sees beside its root: binds of other inputs, cache directories, tmpfs, secrets, SSH
// sockets. Everything prepared here is released by one `close`, in reverse order.
import { chmod, chown, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { MountType, pb } from '../llb/index.js';
import { runFileActions, type FileTree } from '../native/files.js';
import type { ContainerMount } from '../runtime/index.js';
import type { BuildSession } from '../session/index.js';
import { scratch, sealedLayers, type Snapshot, type WritableMount } from '../snapshot/index.js';
import type { OpContext, Result } from '../solver/index.js';
import { CacheMount } from './cache-mount.js';
import { withTree } from './content.js';
import type { Watched } from './fetch-report.js';
import { resolveInRoot } from './resolve-path.js';
import { asOpResult, laidOf, SnapshotResult } from './result.js';
import { given, WrittenMount, type Leftovers } from './step-error.js';
import { toSnapshot } from './to-snapshot.js';
import { uuidOf } from './uuid.js';
import type { Worker } from './worker.js';

type Release = () => Promise<void>;

/** `open /a: no such file or directory`: a mount's source does not exist. */
export class MissingMountSource extends Error {
	constructor(selector: string, options?: ErrorOptions) {
		super(`open ${path.posix.resolve('/', selector)}: no such file or directory`, options);
	}
}

/** The container's root file system. */
interface RootMount {
	readonly mount: WritableMount;
	readonly readonly: boolean;
}

interface OutputMount {
	readonly output: number;
	/** A mount whose writes become the output; or the input passed through unchanged. */
	readonly source: WritableMount | Snapshot;
	readonly input: Result | undefined;
}

export class PreparedMounts {
	readonly mounts: ContainerMount[] = [];
	#root: RootMount | undefined;
	readonly #outputs: OutputMount[] = [];
	readonly #release: Release[] = [];
	readonly #written = new Map<pb.Mount, WritableMount>();
	/** A step that mounts one cache twice sees the same directory, and does not wait for itself. */
	readonly #caches = new Map<string, CacheMount>();
	/** Disks beside the root's. */
	readonly otherDisks: Watched[] = [];

	/** `step`: what is done, for its trace of reads. */
	constructor(
		private readonly worker: Worker,
		private readonly inputs: readonly Result[],
		private readonly context: Pick<OpContext<BuildSession>, 'signal' | 'session' | 'key'>,
		private readonly step?: string,
	) {}

	get root(): RootMount {
		if (!this.#root) throw new Error('exec without a root file system');
		return this.#root;
	}

	/** Where the files of a mount are on this host, by its destination; undefined for one that has none. */
	sourceOf(destination: string): string | undefined {
		if (destination === '/') return this.root.mount.root;
		return this.mounts.find((mount) => mount.destination === path.posix.resolve('/', destination) && mount.type === 'bind')?.source;
	}

	/** Prepares the mounts of an exec op. `cwd`: relative destinations start there. */
	async prepare(mounts: readonly pb.Mount[], cwd: string): Promise<void> {
		for (const mount of mounts) {
			this.context.signal.throwIfAborted();
			await this.#add(mount, path.posix.resolve('/', cwd, mount.dest));
		}
		// Parents are mounted before what lies inside them.
		this.mounts.sort((a, b) => (a.destination < b.destination ? -1 : a.destination > b.destination ? 1 : 0));
	}

	/** Seals what the container wrote: one result an output. */
	async commit(): Promise<readonly Result[]> {
		const results: Result[] = [];
		for (const { output, source, input } of this.#outputs) {
			results[output] = new SnapshotResult('commit' in source ? await source.commit(uuidOf(this.context.key, output)) : source, laidOf(input));
		}
		return results;
	}

	/** What a failed step leaves of each of its mounts: what it wrote, to be released by the caller, or the input. */
	leftovers(mounts: readonly pb.Mount[]): Leftovers & { readonly written: readonly WrittenMount[] } {
		const written = new Map([...this.#written].map(([mount, writable]): [pb.Mount, WrittenMount] => {
			this.#release.splice(this.#release.indexOf(writable.abort), 1);
			return [mount, new WrittenMount(writable, laidOf(this.#input(mount)))];
		}));
		this.#written.clear();
		const inputs = mounts.map((mount) => given(this.inputs[mount.input]));
		return { inputs, mounts: mounts.map((mount, i) => written.get(mount) ?? inputs[i]), written: [...written.values()] };
	}

	/** Throws away what was not committed and releases the rest. Idempotent. */
	async close(): Promise<void> {
		for (const release of this.#release.splice(0).reverse()) await release();
	}

	async #add(mount: pb.Mount, destination: string): Promise<void> {
		const isRoot = destination === '/';
		if (isRoot && mount.mountType !== MountType.BIND) throw new Error(`invalid mount type ${MountType[mount.mountType]} for ${mount.dest}`);
		switch (mount.mountType) {
			case MountType.BIND: return isRoot ? this.#addRoot(mount) : this.#addBind(mount, destination);
			case MountType.CACHE: return this.#addCache(mount, destination);
			case MountType.TMPFS: return this.#addTmpfs(mount, destination);
			case MountType.SECRET: return this.#addSecret(mount, destination);
			case MountType.SSH: return this.#addSsh(mount, destination);
			default: throw new Error(`mount type ${MountType[mount.mountType] ?? mount.mountType} not implemented`);
		}
	}

	#input(mount: pb.Mount): Result | undefined {
		if (mount.input === -1) return undefined;
		const input = this.inputs[mount.input];
		if (!input) throw new Error(`missing input ${mount.input}`);
		return input;
	}

	async #snapshotOf(mount: pb.Mount): Promise<Snapshot> {
		const input = this.#input(mount);
		return input ? toSnapshot(this.worker, input, this.context.signal) : scratch;
	}

	async #addRoot(mount: pb.Mount): Promise<void> {
		// Even a read-only root gets a writable mount: runc makes its mount points there.
		const writable = await this.#writable(mount, await this.#snapshotOf(mount), this.step);
		if (mount.output !== -1) this.#outputs.push({ output: mount.output, source: writable, input: this.#input(mount) });
		this.#root = { mount: writable, readonly: mount.readonly };
	}

	async #addBind(mount: pb.Mount, destination: string): Promise<void> {
		const input = this.#input(mount);
		const result = input && asOpResult(input);
		if (mount.output !== -1 && mount.readonly) this.#outputs.push({ output: mount.output, source: await this.#snapshotOf(mount), input });
		const bind = (root: string): Promise<void> => this.#bind(root, mount.selector, destination, mount.readonly);
		if (mount.output !== -1 && !mount.readonly) {
			const writable = await this.#otherWritable(mount, await this.#snapshotOf(mount));
			this.#outputs.push({ output: mount.output, source: writable, input });
			return bind(writable.root);
		}
		if (result?.kind === 'directory') return bind(await this.#materialize(result.tree));
		// A new disk would show its lost+found.
		if (mount.readonly && !result) return bind(await this.#newDirectory());
		if (!mount.readonly || !result) return bind((await this.#otherWritable(mount, result?.snapshot ?? scratch)).root);
		const view = await this.worker.snapshots.view(result.snapshot, this.context.signal);
		this.#release.push(view.release);
		this.otherDisks.push(view);
		return bind(view.root);
	}

	async #bind(root: string, selector: string, destination: string, readonly: boolean): Promise<void> {
		const source = await resolveInRoot(root, selector === '' ? '/' : selector).catch((error: unknown) => {
			throw (error as NodeJS.ErrnoException).code === 'ENOENT' ? new MissingMountSource(selector, { cause: error }) : error;
		});
		this.mounts.push({ destination, source, type: 'bind', options: ['rbind', readonly ? 'ro' : 'rw'] });
	}

	async #otherWritable(mount: pb.Mount, parent: Snapshot): Promise<WritableMount> {
		const writable = await this.#writable(mount, parent);
		this.otherDisks.push(writable);
		return writable;
	}

	async #writable(mount: pb.Mount, parent: Snapshot, step?: string): Promise<WritableMount> {
		const writable = await this.worker.snapshots.writable(parent, this.context.signal, { ...(step !== undefined && { step }) });
		this.#written.set(mount, writable);
		this.#release.push(writable.abort);
		return writable;
	}

	/** A client's directory as the container may see it: owned by root, filtered, and ours to throw away. */
	async #materialize(tree: FileTree): Promise<string> {
		const dir = await this.#newDirectory();
		await this.#copyTree(tree, dir);
		return dir;
	}

	async #newDirectory(): Promise<string> {
		const dir = await mkdtemp(path.join(this.worker.temporaryDir, 'bind-'));
		this.#release.push(() => rm(dir, { recursive: true, force: true }));
		return dir;
	}

	#copyTree(source: FileTree, target: string): Promise<void> {
		return runFileActions(target, [{ type: 'copy', source, src: '/', dest: '/', dirCopyContents: true, createDestPath: true }], { signal: this.context.signal });
	}

	async #addCache(mount: pb.Mount, destination: string): Promise<void> {
		if (!mount.cacheOpt) throw new Error('missing cache mount options');
		const { ID, sharing } = mount.cacheOpt;
		const input = this.#input(mount);
		const directory = { id: ID, ...(input && { from: await identityOf(input) }) };
		const key = JSON.stringify(directory);
		const known = this.#caches.get(key);
		const cache = known ?? await CacheMount.take(this.worker.cacheMountDir, directory, pb.CacheSharingOpt[sharing] as 'SHARED' | 'PRIVATE' | 'LOCKED', this.context.signal);
		if (!known) {
			this.#caches.set(key, cache);
			this.#release.push(() => cache.release());
		}
		// A new cache directory starts as a copy of its `from`.
		if (!known && cache.fresh && input) await withTree(this.worker, input, this.context.signal, ({ tree }) => this.#copyTree(tree, cache.path));
		if (mount.output !== -1 && input) this.#outputs.push({ output: mount.output, source: await this.#snapshotOf(mount), input });
		await this.#bind(cache.path, mount.selector, destination, mount.readonly);
	}

	#addTmpfs(mount: pb.Mount, destination: string): void {
		// There is nothing in a new one to be mounted.
		if (path.posix.resolve('/', mount.selector) !== '/') throw new MissingMountSource(mount.selector);
		const size = mount.TmpfsOpt?.size ?? 0;
		this.mounts.push({ destination, source: 'tmpfs', type: 'tmpfs', options: ['nosuid', ...(mount.readonly ? ['ro'] : []), ...(size > 0 ? [`size=${size}`] : [])] });
	}

	async #addSecret(mount: pb.Mount, destination: string): Promise<void> {
		const option = mount.secretOpt;
		if (!option) throw new Error('invalid secret mount options');
		if (option.ID === '') throw new Error('secret ID missing from mount options');
		const data = await this.context.session.secret(option.ID);
		if (!data) {
			if (option.optional) return;
			throw new Error(`secret ${option.ID}: not found`);
		}
		const dir = await this.worker.runtime.secretDirectory();
		const file = path.join(dir, `${process.hrtime.bigint()}`);
		this.#release.push(() => rm(file, { force: true }));
		await writeFile(file, data, { mode: 0o600, flag: 'wx' });
		await chown(file, option.uid, option.gid);
		await chmod(file, option.mode & 0o777);
		const noexec = (option.mode & 0o111) === 0 ? ['noexec'] : [];
		this.mounts.push({ destination, source: file, type: 'bind', options: ['ro', 'rbind', 'nodev', 'nosuid', ...noexec] });
	}

	async #addSsh(mount: pb.Mount, destination: string): Promise<void> {
		const option = mount.SSHOpt;
		if (!option) throw new Error('invalid ssh mount options');
		const dir = path.join(this.worker.temporaryDir, 'ssh');
		await mkdir(dir, { recursive: true, mode: 0o711 });
		const socket = await this.context.session.sshAgent(option.ID, { dir, uid: option.uid, gid: option.gid, mode: option.mode & 0o777 }).catch((error: unknown) => {
			if (!option.optional) throw error;
			return undefined;
		});
		if (!socket) {
			if (option.optional) return;
			throw new Error(`no SSH key "${option.ID || 'default'}" forwarded from the client`);
		}
		this.#release.push(() => socket.close());
		this.mounts.push({ destination, source: socket.path, type: 'bind', options: ['rbind'] });
	}
}

async function identityOf(input: Result): Promise<string> {
	const result = asOpResult(input);
	if (result.kind === 'directory') return result.root;
	return (await sealedLayers(result.snapshot)).map((layer) => layer.digest).join(',');
}
