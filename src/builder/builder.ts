// One builder: the store, a lease on it, the rooms that work on it, wired together. A command line build
// has one for itself; the daemon one for all its builds.
import { mkdir } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createHash } from 'node:crypto';
import type { DeviceChoice, DeviceServer, ExplainedReads } from '../device/index.js';
import type { CacheImportContext } from '../cache/index.js';
import { Exporter } from '../exporters/index.js';
import { solve } from '../gateway/index.js';
import { defaultPlatform, parseReference } from '../image/index.js';
import type { Worker } from '../ops/index.js';
import { makePrivate, mount, umount, umountIfMounted } from '../native/system.js';
import { RegistryClient, Transport, type HostConfigs } from '../registry/index.js';
import { Runtime, type DnsConfig } from '../runtime/index.js';
import type { BuildSession } from '../session/index.js';
import { SnapshotManager } from '../snapshot/index.js';
import { CanceledError, Solver, isCanceled, type StatusSink } from '../solver/index.js';
import { ImageResolver, Sources } from '../sources/index.js';
import { Store, type CollectPolicy } from '../store/index.js';
import { pushAccelerated, type AccelerateOptions } from './acceleration.js';
import { BlobAccess } from './blob-access.js';
import { Build, type BuildOptions } from './build.js';
import { StoreCache } from './cache.js';
import { BuilderLease } from './lease.js';
import { directoriesOf, directoryRecords, removeDirectories, type DirectoryKind } from './directory-usage.js';
import type { BuildRequest, BuildResult } from './request.js';
import { Producers } from './provenance/index.js';
import { LocalSession } from './session.js';
import { Stores } from './stores.js';
import { usageRecords, type UsageRecord } from './usage.js';

/** Bytes of the disk of an image that starts from scratch; sparse, so only what is written counts. */
const virtualSize = 64 * 1024 ** 3;
/** Milliseconds for a device server to show that it lives. */
const endSeenMs = 1000;

export interface BuilderOptions {
	/** The store's directory. */
	readonly root: string;
	/** Registries, `host[:port]`, that may be spoken to over plain http or without a valid certificate. */
	readonly insecureRegistries: readonly string[];
	/** How to talk to registries: mirrors, certificates. */
	readonly hosts?: HostConfigs;
	/** In place of the host's, for containers. */
	readonly dns?: DnsConfig;
	/** Steps that run at once; by default as many as there are processors, and four at least. */
	readonly parallelism?: number;
	readonly lazy?: LazyReadOptions;
	/** How the kernel reaches the disks; `auto`, the default, takes the fastest way this host has. */
	readonly deviceKind?: DeviceChoice;
}

/** How layers that stay in a registry are read. */
export interface LazyReadOptions {
	/** Milliseconds without a byte from a registry after which a read is an I/O error. */
	readonly fetchTimeout?: number;
	/** Bytes that fetched blocks may take on disk, those in use excepted. */
	readonly blockCacheSize?: number;
	/** Read them whole, and compare them with their digests, before a step works on them. */
	readonly verify?: boolean;
	/** Tell which files the fetched bytes belong to. */
	readonly explainReads?: boolean;
}

export class Builder {
	readonly worker: Worker;
	readonly solver: Solver<BuildSession>;
	readonly exporter: Exporter;
	readonly resolver: ImageResolver;
	readonly producers = new Producers();
	/** What reading and writing caches of others takes. */
	readonly cacheAccess: Pick<CacheImportContext, 'registry' | 'isInsecure' | 'blobs'>;
	readonly explainsReads: boolean;
	readonly #cache: StoreCache;
	readonly #registry: RegistryClient;
	readonly #isInsecure: (domain: string) => boolean;
	readonly #transport = new Transport();
	readonly #access = new BlobAccess();
	readonly #runtime: Runtime;
	readonly #snapshots: SnapshotManager;
	readonly #mountDir: string;
	readonly #directories: readonly DirectoryKind[];
	#isPrivate = false;
	#deviceServer: Promise<DeviceServer> | undefined;
	#fetchingStopped = false;
	#builds = 0;
	#resting: Promise<void> = Promise.resolve();

	private constructor(private readonly store: Store, private readonly lease: BuilderLease, instanceDir: string, options: BuilderOptions) {
		const stores = new Stores(store, lease);
		const isInsecure = (domain: string): boolean => options.insecureRegistries.includes(domain);
		this.#isInsecure = isInsecure;
		this.#registry = new RegistryClient({ hosts: options.hosts ?? {} });
		this.#runtime = new Runtime(path.join(instanceDir, 'runtime'), options.dns);
		this.explainsReads = options.lazy?.explainReads ?? false;
		this.#mountDir = path.join(instanceDir, 'mounts');
		this.#snapshots = new SnapshotManager({
			deviceServer: () => this.#liveServer(() => this.#startServer(options, instanceDir)),
			store: stores.layers,
			mountDir: this.#mountDir,
			virtualSize,
			traces: stores.traces,
			verify: options.lazy?.verify ?? false,
		});
		this.resolver = new ImageResolver({ registry: this.#registry, cache: stores.documents, isInsecure, onShown: ({ credentials }, source, digests) => { this.#access.lend(credentials, source, digests); } });
		const images = { resolver: this.resolver, registry: this.#registry, snapshots: this.#snapshots, converted: stores.converted };
		this.worker = {
			snapshots: this.#snapshots,
			formerCopies: stores.formerCopies,
			sources: new Sources({
				...images,
				transport: this.#transport,
				downloads: stores.downloads,
				blobs: stores.blobs,
				repositoryDir: path.join(options.root, 'git'),
				temporaryDir: instanceDir,
			}),
			runtime: this.#runtime,
			cacheMountDir: path.join(options.root, 'cache-mounts'),
			temporaryDir: instanceDir,
			platform: defaultPlatform(),
		};
		this.#directories = [
			{ base: path.join(options.root, 'cache-mounts'), type: 'exec.cachemount', description: 'cached mount' },
			{ base: path.join(options.root, 'git'), type: 'source.git.checkout', description: 'git repository' },
			{ base: path.join(options.root, 'transfers'), type: 'source.local', description: 'local source' },
		];
		this.cacheAccess = { registry: this.#registry, isInsecure, blobs: stores.blobs };
		this.exporter = new Exporter({ snapshots: this.#snapshots, registry: this.#registry, isInsecure, store: stores.exports });
		this.#cache = new StoreCache(store, lease, this.#snapshots);
		this.solver = new Solver({ cache: this.#cache, parallelism: options.parallelism ?? Math.max(4, availableParallelism()) });
	}

	/** Opens the store and clears what dead builders left in it. */
	static async open(options: BuilderOptions): Promise<Builder> {
		const store = Store.open(options.root);
		try {
			await store.recover(async ({ directory }) => {
				const [{ recoverContainers }, { releaseDevices }] = await Promise.all([import('../runtime/index.js'), import('../device/index.js')]);
				await recoverContainers(path.join(directory, 'runtime'));
				await releaseDevices(directory);
			});
			const { directory } = await store.instance();
			await mkdir(path.join(directory, 'mounts'), { mode: 0o711 });
			return new Builder(store, await BuilderLease.take(store), directory, options);
		} catch (error) {
			await store.close();
			throw error;
		}
	}

	/** Runs one build of a Dockerfile. `onStatus` gets its progress; aborting `signal` cancels it with `CanceledError`. */
	async build(request: BuildRequest, signal: AbortSignal, onStatus: StatusSink): Promise<BuildResult> {
		const { frontendAttributes: attributes, allow, exports, cacheImports, cacheExports } = request;
		const session = new LocalSession(request, (directory) => this.statCache(directory));
		return this.run({ session, allow, exports, signal, onStatus, cacheImports, cacheExports, attributes, frontend: 'dockerfile.v0' }, async (build) => {
			const output = await solve(build, { frontend: 'dockerfile.v0', opts: attributes, inputs: new Map(), evaluate: false });
			if (attributes['requestid'] !== undefined) return { metadata: textOf(output.metadata) };
			const metadata = await build.export(output);
			return { metadata: { ...metadata, ...await build.provenance(), ...await build.fetchedMetadata() } };
		});
	}

	/** Runs `work` with a build, which ends with it. Aborting the build's signal cancels it with `CanceledError`. */
	async run<T>(options: BuildOptions, work: (build: Build) => Promise<T>): Promise<T> {
		const { signal, session: { credentials } } = options;
		const build = new Build(this, options);
		const stop = (): void => { this.#stopFetching(); };
		signal.addEventListener('abort', stop, { once: true });
		this.#builds++;
		this.#access.enter(credentials);
		this.#resumeFetching();
		try {
			signal.throwIfAborted();
			return await work(build);
		} catch (error) {
			if (signal.aborted) throw new CanceledError();
			throw await this.#explained(error);
		} finally {
			this.#builds--;
			signal.removeEventListener('abort', stop);
			build.close();
			this.#access.leave(credentials);
			if (options.isOneOfMany && this.#builds === 0) void this.#settle();
		}
	}

	/** Between builds: gives back what only running ones need. */
	async #settle(): Promise<void> {
		await this.solver.idle();
		if (this.#builds > 0) return;
		await Promise.allSettled([this.#cache.touch(), this.#snapshots.settle()]);
	}

	/** While nothing is built: detaches what a next build could have gone on with, and ends the device server until then. */
	rest(): Promise<void> {
		const rest = async (): Promise<void> => {
			if (this.#builds > 0) return;
			await this.#settle();
			if (this.#builds === 0) await this.#snapshots.discardIdle();
			const server = await this.#deviceServer?.catch(() => undefined);
			await server?.rest();
		};
		return (this.#resting = this.#resting.then(rest, rest));
	}

	/** What takes up the disk, the oldest first. */
	async usage(): Promise<UsageRecord[]> {
		const [records, directories] = await Promise.all([usageRecords(this.store), directoryRecords(this.#directories)]);
		return [...records, ...directories].sort((a, b) => a.createdAt.getTime() - b.createdAt.getTime());
	}

	/** The store's directory. */
	get root(): string {
		return this.store.root;
	}

	/**
	 * Collects garbage: of the records `only` names those the policy does not keep, and what nothing needs any
	 * more. While builds run, what earlier ones have used stays. Returns the references of what has gone.
	 */
	async collect({ only, ...limits }: CollectPolicy & { readonly only: ReadonlySet<string> }): Promise<string[]> {
		await this.#cache.touch();
		const isIdle = this.#builds === 0;
		if (isIdle) {
			await this.#settle();
			await this.#snapshots.discardIdle();
			this.#cache.forget();
			await this.lease.renew();
		}
		const { records } = await this.store.collect({ ...limits, only });
		if (!isIdle || this.#builds > 0) return [...records];
		const directories = await this.#collectDirectories(only, limits);
		return [...records, ...directories];
	}

	/** Directories are the easiest to make again: they go whenever a policy may take them. */
	async #collectDirectories(only: ReadonlySet<string>, { keepBytes = 0, keepDuration = 0 }: CollectPolicy): Promise<string[]> {
		const all = await this.usage();
		let total = all.reduce((sum, { size }) => sum + size, 0);
		const usedBefore = Date.now() - keepDuration;
		const gone = all.filter(({ refs, lastUsedAt, size }) => {
			if (directoriesOf(refs).length === 0 || !refs.every((ref) => only.has(ref)) || lastUsedAt.getTime() > usedBefore || (keepBytes > 0 && total <= keepBytes)) return false;
			total -= size;
			return true;
		}).flatMap(({ refs }) => refs);
		await removeDirectories(directoriesOf(gone));
		return gone;
	}

	/** An error with what the kernel could not say of it: why there is no disk any more. */
	async #explained(error: unknown): Promise<unknown> {
		if (!(error instanceof Error) || isCanceled(error)) return error;
		const server = await this.#deviceServer?.catch(() => undefined);
		// It may be dead without anybody having seen it: then it does not answer.
		if (server) await atMost(endSeenMs, server.fetched().then(() => undefined, () => undefined));
		const reason = server?.failure?.message;
		return reason === undefined || error.message.includes(reason) ? error : new Error(`${error.message}: ${reason}`, { cause: error });
	}

	/** The last build is cancelled: what waits in the kernel for a block of a lazy base could not be killed. */
	#stopFetching(): void {
		if (this.#builds > 1) return;
		this.#fetchingStopped = true;
		this.#deviceServer?.then((server) => server.stopFetching()).catch(() => undefined); // the server has ended
	}

	#resumeFetching(): void {
		if (!this.#fetchingStopped) return;
		this.#fetchingStopped = false;
		this.#deviceServer?.then((server) => server.resumeFetching()).catch(() => undefined); // the server has ended
	}

	/** Path of the file that remembers the content digests of a client's directory. */
	async statCache(directory: string): Promise<string> {
		const dir = path.join(this.store.root, 'stat-cache');
		await mkdir(dir, { recursive: true });
		return path.join(dir, createHash('sha256').update(path.resolve(directory)).digest('hex'));
	}

	/** Pushes an image with an acceleration layer on top. Returns the manifest's digest. */
	async pushAccelerated(options: Omit<AccelerateOptions, 'registry' | 'insecure'>): Promise<string> {
		return pushAccelerated({ ...options, registry: this.#registry, insecure: this.#isInsecure(parseReference(options.target).domain) });
	}

	/** Shows a mounted directory at another place while `use` runs. */
	async bind(source: string, target: string, use: () => Promise<void>): Promise<void> {
		await mount(source, target, '', 'bind');
		try {
			await use();
		} finally {
			await umount(target);
		}
	}

	/** Bytes fetched from registries for layers attached lazily, by digest. */
	async fetched(): Promise<Readonly<Record<string, number>>> {
		return this.#deviceServer ? (await this.#deviceServer).fetched() : {};
	}

	/** What these are, by the files behind them; of a builder that `explainsReads`. */
	async explainedReads(): Promise<ExplainedReads> {
		return this.#deviceServer ? (await this.#deviceServer).explainReads() : {};
	}

	/** The device server; a new one where the last has ended or could not be started. Builds that stood on that one have failed, the next need not. */
	async #liveServer(start: () => Promise<DeviceServer>): Promise<DeviceServer> {
		for (;;) {
			const known = (this.#deviceServer ??= start());
			try {
				const server = await known;
				if (!server.failure) return server;
				await server.close(); // what it had is released then
			} catch (error) {
				if (this.#deviceServer === known) this.#deviceServer = undefined;
				throw error;
			}
			if (this.#deviceServer === known) this.#deviceServer = undefined;
		}
	}

	async #startServer({ root, hosts = {}, lazy, deviceKind }: BuilderOptions, instanceDir: string): Promise<DeviceServer> {
		const { startDeviceServer } = await import('../device/index.js');
		// On hosts whose mounts are shared, every other mount namespace would get a copy of ours and keep it busy.
		await mount(this.#mountDir, this.#mountDir, '', 'bind');
		this.#isPrivate = true;
		await makePrivate(this.#mountDir);
		return startDeviceServer({
			root, instanceDir, hosts, access: this.#access,
			...(deviceKind !== undefined && { deviceKind }),
			noteReads: this.explainsReads,
			...(lazy?.fetchTimeout !== undefined && { fetchTimeout: lazy.fetchTimeout }),
			...(lazy?.blockCacheSize !== undefined && { blockCacheSize: lazy.blockCacheSize }),
		});
	}

	/**
	 * Stores what is still being sealed, then gives everything back: mounts, devices, containers, files.
	 * `patience`: milliseconds to wait for the seals at most; what is not done by then is thrown away.
	 */
	async close(patience = Infinity): Promise<void> {
		await atMost(patience, this.solver.idle());
		// One that fails is no reason to keep the rest; what stays the next start clears.
		const failures: unknown[] = [];
		const attempt = async (work: () => Promise<unknown> | undefined): Promise<void> => {
			await work()?.catch((error: unknown) => { failures.push(error); });
		};
		await attempt(() => atMost(endSeenMs, this.#resting));
		await attempt(() => this.#cache.touch());
		await attempt(() => this.#snapshots.close());
		if (this.#isPrivate) await attempt(() => umountIfMounted(this.#mountDir));
		await Promise.all([
			attempt(() => this.#runtime.close()),
			attempt(() => this.#deviceServer?.then((server) => server.close(), () => undefined)),
		]);
		this.#registry.close();
		this.#transport.close();
		await attempt(() => this.lease.release());
		await attempt(() => this.store.close());
		if (failures.length > 0) throw failures[0];
	}
}

/** Waits for `work`, but not longer than `milliseconds`. */
async function atMost(milliseconds: number, work: Promise<void>): Promise<void> {
	if (milliseconds === Infinity) return work;
	const stop = new AbortController();
	await Promise.race([work, sleep(milliseconds, undefined, { signal: stop.signal }).catch(() => undefined)]);
	stop.abort();
}

/** A subrequest's answer as BuildKit's result metadata: `result.json`, `result.txt`, `result.statuscode`. */
function textOf(answer: ReadonlyMap<string, Uint8Array>): Record<string, string> {
	return Object.fromEntries([...answer].map(([key, value]) => [key, Buffer.from(value).toString('utf8')]));
}
