// Hands out mounted snapshots. A stage's consecutive steps get the same mount again and again: after a
// step the writable layer is sealed live, and the mount then stands at the new snapshot, idle, for whoever
// asks for that snapshot next.
import { mkdir, rmdir } from 'node:fs/promises';
import path from 'node:path';
import { remoteBlobs, type DeviceServer, type FrozenLayer, type LocalBlob, type OpenLayers, type RemoteBlob } from '../device/index.js';
import { LiveMount, type RemoteLayer } from './live-mount.js';
import { sealedLayers, type Layer, type LayerBlob, type SealedLayer, type Snapshot, snapshotOf } from './layer.js';
import { OpenedLayers } from './opened-layers.js';
import { traceKey, type TraceStore } from './traces.js';

/** Where sealed blobs live; the store implements it. */
export interface LayerStore {
	/** Path of a blob that is in the store with all its `size` bytes; undefined when it is not. */
	blobPath(digest: string, size: number): Promise<string | undefined>;
	/** A path on the same file system for a blob in the making. */
	temporaryPath(): Promise<string>;
	/** Moves a finished blob to its place and protects it while this build runs. */
	adopt(temporaryPath: string, digest: string, size: number): Promise<void>;
}

export interface SnapshotOptions {
	/** Starts the device server when the first mount is wanted. */
	readonly deviceServer: () => Promise<DeviceServer>;
	readonly store: LayerStore;
	/** Mount points are made here; must exist. */
	readonly mountDir: string;
	/** Bytes of a new disk. */
	readonly virtualSize: number;
	readonly traces: TraceStore;
	/** Reads layers of a registry whole, and compares them with their digests, before anything is done on them. */
	readonly verify: boolean;
}

export interface WritableOptions {
	/** What the step does, as far as its reads go (traces.ts). */
	readonly step?: string;
	/** Notes what is read, for `WritableMount.recordedTrace`. */
	readonly recordTrace?: boolean;
	/**
	 * The layer an earlier run of the step made on the same parent: the mount shows its files, and what the step makes
	 * of them is committed as one layer in its place. Its blob has to be in the store.
	 */
	readonly former?: SealedLayer;
}

/** A snapshot mounted for reading and writing, for one step. */
export interface WritableMount {
	readonly root: string;
	/** Layers whose blocks may have to be fetched from a registry. */
	readonly remoteLayers: readonly RemoteLayer[];
	/** Bytes fetched from registries for this mount's layers so far, by digest. */
	fetched(): Promise<Readonly<Record<string, number>>>;
	/** Calls `listener` when a read or write of the disk fails, until the returned function is called. */
	onFault(listener: (error: Error) => void): () => void;
	/** Seals what the step wrote as one layer on top of its parent, and ends the mount. `uuid`: 8-4-4-4-12 hex. */
	commit(uuid: string): Promise<Snapshot>;
	/** What was read so far, as overlaybd's trace file; of a mount with `recordTrace`. */
	recordedTrace(): Promise<Uint8Array>;
	/** Throws away what the step wrote, and ends the mount. Does nothing after `commit`. */
	abort(): Promise<void>;
}

/** A snapshot mounted for reading. */
export interface ReadMount {
	readonly root: string;
	onFault(listener: (error: Error) => void): () => void;
	release(): Promise<void>;
}

/** Idle mounts kept for a next step; more than that are detached, the longest unused first. */
const maxIdleMounts = 8;

export class SnapshotManager {
	readonly #mounts = new Set<LiveMount>();
	readonly #opened = new OpenedLayers();
	readonly #frozen = new Set<FrozenLayer>();
	readonly #remoteLayers = new Map<string, number>();
	#mountCount = 0;
	#frozenCount = 0;
	#closed = false;

	constructor(private readonly options: SnapshotOptions) {}

	/** A layer that is in the store or in a registry. */
	layer(sealed: SealedLayer): Layer {
		const { store } = this.options;
		return {
			id: sealed.digest,
			uuid: sealed.uuid,
			sealed: Promise.resolve(sealed),
			lower: async () => {
				const place = async ({ digest, size }: LayerBlob): Promise<LocalBlob | RemoteBlob> => {
					const path = await store.blobPath(digest, size);
					if (path !== undefined) return { digest, size, path };
					if (sealed.source) return { digest, size, source: sealed.source };
					throw new Error(`layer ${digest} is neither in the store nor in a registry`);
				};
				const target = sealed.turbo && { target: await place(sealed.turbo.target) };
				const blob = await place(sealed);
				return 'path' in blob ? { kind: 'blob', ...blob, ...target } : { kind: 'remote', ...blob, ...target };
			},
		};
	}

	snapshot(layers: readonly SealedLayer[]): Snapshot {
		return snapshotOf(layers.map((layer) => this.layer(layer)));
	}

	/**
	 * A step is about to mount `snapshot`: opens the layers that are in a registry, and begins to fetch what the step
	 * read of them the last time. What fails, the mount will say.
	 */
	async prepare(snapshot: Snapshot, step: string): Promise<void> {
		const isMounted = [...this.#mounts].some((live) => live.snapshot.id === snapshot.id);
		if (isMounted || this.#closed || this.options.verify) return;
		await this.#opened.prepare(snapshot.id, () => this.#open(snapshot, step));
	}

	async #open(snapshot: Snapshot, step: string): Promise<OpenLayers | undefined> {
		const lowers = await Promise.all(snapshot.layers.map((layer) => layer.lower()));
		const remotes = remoteBlobs(lowers);
		if (remotes.length === 0) return undefined;
		const known = this.options.traces.get(traceKey(step, remotes.map(({ digest }) => digest), lowers.length));
		return (await this.options.deviceServer()).open(lowers, known ?? []);
	}

	/** Mounts `parent` for a step that writes; with `recordTrace` on a device of its own. */
	async writable(parent: Snapshot, signal: AbortSignal, options: WritableOptions = {}): Promise<WritableMount> {
		const { step, recordTrace = false, former } = options;
		// A mount that went on from layer to layer would keep the data of all of them.
		const idle = recordTrace || former ? undefined : await this.#takeIdle(parent, step);
		const base = former ? snapshotOf([...parent.layers, this.layer(former)]) : parent;
		const mount = idle ?? (await this.#attach(base, true, signal, options));
		// Opened for an attach of the parent itself, which does not come.
		if (idle || former) await this.#opened.close([parent.id]);
		let ended = false;
		return {
			root: mount.root,
			remoteLayers: mount.remoteLayers,
			fetched: () => mount.fetched(),
			onFault: (listener) => mount.onFault(listener),
			commit: (uuid) => {
				ended = true;
				return this.#commit(mount, parent, uuid, former);
			},
			recordedTrace: () => mount.recordedTrace(),
			abort: async () => {
				if (!ended) await this.#discard(mount);
				ended = true;
			},
		};
	}

	/** Mounts `snapshot` for reading; several readers share one mount. */
	async view(snapshot: Snapshot, signal: AbortSignal): Promise<ReadMount> {
		if (snapshot.layers.length === 0) return this.#emptyView();
		const shared = [...this.#mounts].find((live) => live.snapshot.id === snapshot.id && live.readable && live.fault === undefined);
		shared?.addReader();
		const mount = shared ?? (await this.#attach(snapshot, false, signal));
		let released = false;
		return {
			root: mount.root,
			onFault: (listener) => mount.onFault(listener),
			release: async () => {
				if (released) return;
				released = true;
				mount.removeReader();
				await this.#trim();
			},
		};
	}

	/**
	 * Between builds: what is a blob in the store by now is known by its digest, so that a next build finds its
	 * mounts, and is not kept frozen any more. Nor is open what was opened for a step that was not begun.
	 */
	async settle(): Promise<void> {
		const frozen = [...this.#frozen];
		await Promise.all([...this.#mounts].filter((mount) => mount.idle).map(async (mount) => {
			const sealed = await sealedLayers(mount.snapshot).catch(() => undefined); // who wanted the blob knows
			if (sealed && mount.idle && mount.fault === undefined) mount.standAt(this.snapshot(sealed));
			else if (mount.idle) await this.#discard(mount);
		}));
		for (const layer of frozen) this.#frozen.delete(layer);
		await Promise.all([this.#opened.close(), ...frozen.map((layer) => layer.release())]);
	}

	/** Detaches what nobody uses, so that the blobs below can go. */
	async discardIdle(): Promise<void> {
		await this.#opened.close();
		await Promise.all([...this.#mounts].filter((mount) => mount.idle).map((mount) => this.#discard(mount)));
	}

	/** Bytes of the layers that were attached from registries, by digest. */
	get remoteLayers(): ReadonlyMap<string, number> {
		return this.#remoteLayers;
	}

	/** Unmounts and detaches everything, sealed layers excepted: they are in the store. */
	async close(): Promise<void> {
		this.#closed = true;
		await this.#opened.close();
		const mounts = [...this.#mounts];
		this.#mounts.clear();
		const closed = await Promise.allSettled(mounts.map((mount) => mount.close()));
		const released = await Promise.allSettled([...this.#frozen].map((frozen) => frozen.release()));
		this.#frozen.clear();
		const failed = [...closed, ...released].find((result) => result.status === 'rejected');
		if (failed) throw failed.reason;
	}

	/** A mount that stands at `parent` and waits for a next step, as this one's. */
	async #takeIdle(parent: Snapshot, step: string | undefined): Promise<LiveMount | undefined> {
		const idle = [...this.#mounts].find((live) => live.idle && live.writable && live.fault === undefined && live.snapshot.id === parent.id);
		idle?.take();
		try {
			await idle?.beginStep(step);
			return idle;
		} catch (error) {
			if (!idle) throw error;
			await this.#discard(idle);
			if (!idle.server.failure) throw error;
			return undefined;
		}
	}

	/** A mount of its own, taken or with one reader. */
	async #attach(snapshot: Snapshot, writable: boolean, signal: AbortSignal, options: WritableOptions = {}): Promise<LiveMount> {
		signal.throwIfAborted();
		const server = await this.options.deviceServer();
		let mount: LiveMount;
		try {
			mount = await this.#attachOn(server, snapshot, writable, options);
		} catch (error) {
			// It was dead before anybody saw it, or died just now: nothing has been written yet, so the next one will do.
			const next = server.failure && (await this.options.deviceServer());
			if (!next) throw error;
			mount = await this.#attachOn(next, snapshot, writable, options);
		}
		for (const { digest, size } of mount.remoteLayers) this.#remoteLayers.set(digest, size);
		if (this.#closed || signal.aborted) {
			await mount.close();
			signal.throwIfAborted();
			throw new Error('the build has ended');
		}
		// Before others see it.
		if (writable) mount.take();
		else mount.addReader();
		this.#mounts.add(mount);
		return mount;
	}

	#attachOn(server: DeviceServer, snapshot: Snapshot, writable: boolean, { step, recordTrace = false }: WritableOptions): Promise<LiveMount> {
		const root = path.join(this.options.mountDir, String(this.#mountCount++));
		return this.#opened.attach(snapshot.id, () => LiveMount.attach(server, {
			snapshot, writable, root, recordTrace, virtualSize: this.options.virtualSize, traces: this.options.traces, verify: this.options.verify, ...(step !== undefined && { step }),
		}));
	}

	/** The layers below are the parent's own: the mount may have come to the same place on another way, and know less of them. */
	async #commit(mount: LiveMount, parent: Snapshot, uuid: string, former: SealedLayer | undefined): Promise<Snapshot> {
		let frozen: FrozenLayer;
		try {
			frozen = await mount.seal();
		} catch (error) {
			await this.#discard(mount);
			throw error;
		}
		this.#frozen.add(frozen);
		const parentUuid = parent.layers.at(-1)?.uuid;
		const sealed = this.#commitBlob(frozen, uuid, parentUuid, former);
		sealed.catch(() => undefined); // whoever needs the blob sees the error
		const { server } = mount;
		const layer: Layer = {
			id: `frozen:${this.#frozenCount++}`,
			uuid,
			sealed,
			// Only the server that froze it has it; a later one finds the blob. Without its former one it is not the layer.
			lower: async () => (former || server.failure ? this.layer(await sealed).lower() : { kind: 'frozen', id: frozen.id }),
		};
		// What is likely to be read of the layers below stays likely.
		mount.standAt({ ...snapshotOf([...parent.layers, layer]), ...(parent.trace && { trace: parent.trace }) });
		await this.#trim();
		return mount.snapshot;
	}

	async #commitBlob(frozen: FrozenLayer, uuid: string, parentUuid: string | undefined, former: SealedLayer | undefined): Promise<SealedLayer> {
		const createdAt = new Date().toISOString();
		const temporary = await this.options.store.temporaryPath();
		const below = former && await this.#localBlob(former);
		const { digest, size } = await frozen.commit({ path: temporary, uuid, ...(parentUuid !== undefined && { parentUuid }), ...(below && { former: below }) });
		await this.options.store.adopt(temporary, digest, size);
		return { digest, size, uuid, createdAt };
	}

	async #localBlob({ digest, size }: SealedLayer): Promise<LocalBlob> {
		const path = await this.options.store.blobPath(digest, size);
		if (path === undefined) throw new Error(`layer ${digest} is not in the store any more`);
		return { digest, size, path };
	}

	async #discard(mount: LiveMount): Promise<void> {
		this.#mounts.delete(mount);
		await mount.close();
	}

	/** Detaches idle mounts beyond the limit, and those that nobody will take any more. */
	async #trim(): Promise<void> {
		const idle = [...this.#mounts].filter((mount) => mount.idle).sort((a, b) => a.lastUsed - b.lastUsed);
		const usable = idle.filter((mount) => mount.fault === undefined);
		const excess = new Set(usable.slice(0, Math.max(0, usable.length - maxIdleMounts)));
		await Promise.all(idle.filter((mount) => mount.fault !== undefined || excess.has(mount)).map((mount) => this.#discard(mount)));
	}

	async #emptyView(): Promise<ReadMount> {
		const root = path.join(this.options.mountDir, String(this.#mountCount++));
		await mkdir(root);
		return { root, onFault: () => () => undefined, release: () => rmdir(root) };
	}
}
