// What the device server process does with the builder's calls: layers and devices by name on top of the
// native numbers, and the working files of writable layers.
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { deviceAddon, type BlobPlace, type DeviceFault, type DeviceKind, type WritableFiles } from '../native/device.js';
import { answerFetch, type BlobFetcher } from './fetcher.js';
import { instanceLabel, layersDirectory, mountsOf, releaseTimeout, unmountDevices } from './leftovers.js';
import { Places } from './places.js';
import { defaultDetachTimeout, type Method, type ServerConfig, type ServerMethods } from './protocol.js';
import { remoteBlobs } from './remote-blobs.js';
import type { DeviceState, LayerState } from './served-state.js';
import type { DeviceError, LocalBlob, LowerLayer, RemoteBlob } from './types.js';

interface ServedDevice {
	readonly number: number;
	readonly path: string;
	/** Layers whose bytes come from registries. */
	readonly remoteDigests: readonly string[];
	/** The writable layer on top. */
	top: string | undefined;
	/** The one that the last seal froze. */
	frozen?: string;
}

interface OpenLayer {
	readonly number: number;
	close(): void;
}

type Handlers = { readonly [M in Method]: (params: ServerMethods[M]['params']) => Promise<ServerMethods[M]['result']> };

/** FORMATS.md 2.4: what a writable layer's index file begins with, bytes. */
const lsmtHeaderSize = 4096;
/** As overlaybd's registry cache. */
const defaultBlockCacheSize = 4 * 1024 ** 3;
/** The write counters of a device under one server and the next never meet. */
const writesOfGeneration = 2 ** 40;
/** Mounts of a device that was just unmounted lazily may last until a dying container is gone. */
const closePatienceMs = 10_000;

export class Server {
	readonly #devices = new Map<string, ServedDevice>();
	/** Devices that could not be taken over, and why. */
	readonly #lost = new Map<string, string>();
	/** Opened ahead of an attach. */
	readonly #opened = new Map<string, readonly OpenLayer[]>();
	/** Native numbers of the frozen layers. */
	readonly #frozen = new Map<string, number>();
	readonly #places = new Places();
	readonly #forget: (login: string) => void;
	readonly #filesDir: string;
	readonly #label: string;
	readonly #kind: DeviceKind;
	readonly #detachTimeout: number;
	/** Aborted: no read is fetched. */
	#fetching = new AbortController();

	private constructor(config: ServerConfig, forget: (login: string) => void) {
		this.#forget = forget;
		this.#filesDir = layersDirectory(config.directory);
		this.#label = instanceLabel(config.directory);
		this.#kind = config.kind;
		this.#detachTimeout = config.detachTimeout ?? defaultDetachTimeout;
	}

	/**
	 * `onError` is told of failed block requests. The fetcher is asked for when the first remote layer is read;
	 * `forget` tells it, if it is there, that somebody has gone.
	 */
	static async start(config: ServerConfig, fetcher: () => Promise<BlobFetcher>, forget: (login: string) => void, onError: (error: DeviceError) => void): Promise<Server> {
		const server = new Server(config, forget);
		const blockCache = path.join(config.root, 'cache', 'blocks');
		await Promise.all([mkdir(server.#filesDir, { recursive: true }), mkdir(blockCache, { recursive: true })]);
		deviceAddon().startDeviceHost(
			(request) => void answerFetch(fetcher, server.#places, request, server.#fetching.signal),
			(fault) => onError(server.#describe(fault)),
			blockCache,
			config.blockCacheSize ?? defaultBlockCacheSize,
		);
		if (config.noteReads === true) deviceAddon().noteReads();
		return server;
	}

	readonly handlers: Handlers = {
		open: async ({ layers, lowers, prefetch }) => {
			const opened = await this.#openAll(lowers);
			this.#opened.set(layers, opened);
			deviceAddon().prefetchLayers(numbersOf(opened), prefetch);
			return null;
		},
		closeLayers: ({ layers }) => {
			for (const layer of this.#opened.get(layers) ?? []) layer.close();
			this.#opened.delete(layers);
			return Promise.resolve(null);
		},
		attach: async ({ device: id, lowers, top, virtualSize, verify, recordTrace = false }) => {
			const opened = await this.#openAll(lowers);
			try {
				if (verify === true) await Promise.all(numbersOf(opened).map((layer) => deviceAddon().verifyLayer(layer)));
				const device = await deviceAddon().attachDevice(this.#kind, numbersOf(opened), top === undefined ? undefined : this.#files(top), virtualSize ?? 0, `${this.#label}/${id}`, this.#filesDir, recordTrace);
				this.#devices.set(id, { number: device.id, path: device.path, top, remoteDigests: remoteDigests(lowers) });
				return { path: device.path, size: device.size };
			} finally {
				for (const layer of opened) layer.close();
			}
		},
		seal: async ({ device: id, next, ifWrites }) => {
			const device = this.#device(id);
			// Asked again: it was done just before the last server died.
			if (device.top === next && device.frozen !== undefined) return { layer: device.frozen };
			const number = await deviceAddon().sealDevice(device.number, this.#files(next), ifWrites);
			if (number === undefined || device.top === undefined) return {};
			const layer = device.top;
			this.#frozen.set(layer, number);
			device.frozen = layer;
			device.top = next;
			return { layer };
		},
		stats: ({ device: id }) => {
			const device = this.#device(id);
			const fetched = deviceAddon().fetchedBytes();
			const own = device.remoteDigests.flatMap((digest) => (fetched[digest] === undefined ? [] : [[digest, fetched[digest]]]));
			return Promise.resolve({ ...deviceAddon().deviceCounters(device.number), fetched: Object.fromEntries(own) as Record<string, number> });
		},
		recordedTrace: ({ device: id }) => Promise.resolve(deviceAddon().recordedTrace(this.#device(id).number).toString('base64')),
		replayTrace: ({ device: id, trace }) => {
			deviceAddon().replayTrace(this.#device(id).number, Buffer.from(trace, 'base64'));
			return Promise.resolve(null);
		},
		takeTrace: ({ device: id }) => Promise.resolve(deviceAddon().takeTrace(this.#device(id).number)),
		prefetch: ({ device: id, runs }) => {
			deviceAddon().prefetchDevice(this.#device(id).number, runs);
			return Promise.resolve(null);
		},
		detach: async ({ device: id }) => {
			const device = this.#devices.get(id);
			if (!device) return null;
			if (!(await deviceAddon().detachDevice(device.number, this.#detachTimeout))) throw await busy(device.path);
			this.#devices.delete(id);
			if (device.top !== undefined) await this.#removeFiles(device.top);
			return null;
		},
		commit: ({ layer, path: target, uuid, parentUuid, former }) => deviceAddon().commitLayer(this.#layer(layer), target, uuid, parentUuid, former?.path),
		release: async ({ layer }) => {
			const number = this.#frozen.get(layer);
			if (number === undefined) return null;
			this.#frozen.delete(layer);
			deviceAddon().closeLayer(number);
			await this.#removeFiles(layer);
			return null;
		},
		fetched: () => Promise.resolve(deviceAddon().fetchedBytes()),
		explainReads: () => deviceAddon().explainReads(),
		stopFetching: () => {
			this.#fetching.abort(new Error('the build is ending'));
			return Promise.resolve(null);
		},
		resumeFetching: () => {
			if (this.#fetching.signal.aborted) this.#fetching = new AbortController();
			return Promise.resolve(null);
		},
		recover: async ({ devices, layers, generation }) => {
			await this.#releaseUnknown(devices);
			await this.#removeUnknownFiles(devices, layers);
			for (const { id, lowers } of layers) await this.#openFrozen(id, lowers).catch(() => undefined); // who needs it says so
			await Promise.all(devices.map((device) => this.#takeOver(device, generation)));
			return null;
		},
		enter: ({ login }) => {
			this.#places.enter(login);
			return Promise.resolve(null);
		},
		lend: ({ login, source, digests }) => {
			this.#places.add({ login, source }, digests);
			return Promise.resolve(null);
		},
		leave: ({ login }) => {
			this.#places.leave(login);
			this.#forget(login);
			return Promise.resolve(null);
		},
		close: async () => {
			await this.#closeDevices();
			return null;
		},
	};

	/** What the kernel has of attaches that never got an answer: they will be made again. */
	async #releaseUnknown(devices: readonly DeviceState[]): Promise<void> {
		const known = new Set(devices.map(({ id }) => Number(id)));
		for (const { number } of await deviceAddon().listServed(this.#label)) {
			if (!known.has(number)) await deviceAddon().releaseServed(`${this.#label}/${number}`, this.#filesDir, releaseTimeout);
		}
	}

	async #removeUnknownFiles(devices: readonly DeviceState[], layers: readonly LayerState[]): Promise<void> {
		const known = new Set([...layers.map(({ id }) => id), ...devices.flatMap(({ id, top, sealing }) => [id, top, ...sealing])]);
		const names = await readdir(this.#filesDir);
		await Promise.all(names.filter((name) => !known.has(path.parse(name).name)).map((name) => rm(path.join(this.#filesDir, name), { force: true })));
	}

	async #takeOver(state: DeviceState, generation: number): Promise<void> {
		const { id } = state;
		try {
			const { lowers, top, frozen } = await this.#finishSeals(state);
			const opened = await this.#openAll(lowers);
			try {
				const files = top === undefined ? undefined : this.#files(top);
				const device = await deviceAddon().takeOverDevice(this.#kind, numbersOf(opened), files, `${this.#label}/${id}`, this.#filesDir, generation * writesOfGeneration);
				if (!device) throw new Error('the kernel does not have it any more');
				this.#devices.set(id, { number: device.id, path: device.path, top, remoteDigests: remoteDigests(lowers), ...(frozen !== undefined && { frozen }) });
			} finally {
				for (const layer of opened) layer.close();
			}
		} catch (error) {
			// Better an I/O error for its users than an endless wait.
			const failure = error instanceof Error ? error.message : String(error);
			const released = await deviceAddon().releaseServed(`${this.#label}/${id}`, this.#filesDir, releaseTimeout).then(() => '', String);
			this.#lost.set(id, `device ${id} was lost when its device server died: ${failure}${released === '' ? '' : `; ${released}`}`);
		}
	}

	/**
	 * Which of the seals that were under way were done: the server writes to a new layer only after it has
	 * frozen the one below. A seal whose new layer has nothing in it yet may be done again.
	 */
	async #finishSeals({ id, lowers, top, sealing }: DeviceState): Promise<{ lowers: readonly LowerLayer[]; top: string | undefined; frozen?: string }> {
		const written = await Promise.all(sealing.map((name) => hasRecords(this.#files(name))));
		const done = sealing.slice(0, written.lastIndexOf(true) + 1);
		await Promise.all(sealing.slice(done.length).map((name) => this.#removeFiles(name)));
		let present: { lowers: readonly LowerLayer[]; top: string | undefined; frozen?: string } = { lowers, top };
		for (const next of done) {
			const frozen = present.top;
			if (frozen === undefined) throw new Error(`device ${id} is read-only and was sealed`);
			await this.#openFrozen(frozen, present.lowers);
			present = { lowers: [...present.lowers, { kind: 'frozen', id: frozen }], top: next, frozen };
		}
		return present;
	}

	async #openFrozen(id: string, lowers: readonly LowerLayer[]): Promise<void> {
		const opened = await this.#openAll(lowers);
		try {
			this.#frozen.set(id, await deviceAddon().openFrozenLayer(this.#files(id), numbersOf(opened)));
		} finally {
			for (const layer of opened) layer.close();
		}
	}

	/** Unmounts what is mounted from the devices and detaches them, for as long as that may reasonably take. */
	async #closeDevices(): Promise<void> {
		this.#fetching.abort(new Error('the device server is ending')); // no unmount waits for a registry
		const deadline = performance.now() + closePatienceMs;
		await unmountDevices([...this.#devices.values()].map((device) => device.path));
		const detach = async (id: string, device: ServedDevice): Promise<void> => {
			while (!(await deviceAddon().detachDevice(device.number, closePatienceMs)) && performance.now() < deadline);
			this.#devices.delete(id);
		};
		const results = await Promise.allSettled([...this.#devices].map(([id, device]) => detach(id, device)));
		const failed = results.find((result) => result.status === 'rejected');
		if (failed !== undefined) throw failed.reason;
		await rm(this.#filesDir, { recursive: true, force: true });
	}

	/** Opens the lowers side by side: a remote one waits for its trailer and index. */
	async #openAll(lowers: readonly LowerLayer[]): Promise<OpenLayer[]> {
		const results = await Promise.allSettled(lowers.map((lower) => this.#open(lower)));
		const opened = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
		const failed = results.find((result) => result.status === 'rejected');
		if (failed === undefined) return opened;
		for (const layer of opened) layer.close();
		throw failed.reason;
	}

	async #open(lower: LowerLayer): Promise<OpenLayer> {
		if (lower.kind === 'frozen') return { number: this.#layer(lower.id), close: () => undefined };
		const number = await openSealed(lower);
		return { number, close: () => deviceAddon().closeLayer(number) };
	}

	/** Of the writable layer with this name. */
	#files(name: string): WritableFiles {
		const base = path.join(this.#filesDir, name);
		return { data: `${base}.data`, index: `${base}.index` };
	}

	async #removeFiles(name: string): Promise<void> {
		const { data, index } = this.#files(name);
		await Promise.all([rm(data, { force: true }), rm(index, { force: true })]);
	}

	#device(id: string): ServedDevice {
		const device = this.#devices.get(id);
		if (!device) throw new Error(this.#lost.get(id) ?? `device ${id} is not attached`);
		return device;
	}

	#layer(id: string): number {
		const number = this.#frozen.get(id);
		if (number === undefined) throw new Error(`frozen layer ${id} was released`);
		return number;
	}

	#describe({ device: number, ...fault }: DeviceFault): DeviceError {
		const device = [...this.#devices.values()].find((device) => device.number === number);
		return { ...fault, path: device?.path ?? `device ${number}` };
	}
}

async function busy(devicePath: string): Promise<Error> {
	const mounts = await mountsOf([devicePath]);
	const where = mounts.length > 0 ? `mounted on ${mounts.map((mount) => mount.mountPoint).join(', ')}` : 'open or mounted elsewhere';
	return Object.assign(new Error(`${devicePath} cannot be detached: it is ${where}`), { code: 'EBUSY' });
}

function numbersOf(layers: readonly { readonly number: number }[]): number[] {
	return layers.map(({ number }) => number);
}

function remoteDigests(lowers: readonly LowerLayer[]): string[] {
	return remoteBlobs(lowers).map(({ digest }) => digest);
}

function openSealed(lower: Exclude<LowerLayer, { kind: 'frozen' }>): Promise<number> {
	if (lower.target) return deviceAddon().openTurboLayer(placeOf(lower), placeOf(lower.target));
	if (lower.kind === 'blob') return deviceAddon().openLayerFile(lower.digest, lower.path);
	return deviceAddon().openRemoteLayer(lower.digest, lower.size, JSON.stringify(lower.source));
}

function placeOf(blob: LocalBlob | RemoteBlob): BlobPlace {
	const { digest, size } = blob;
	return 'path' in blob ? { digest, size, path: blob.path } : { digest, size, source: JSON.stringify(blob.source) };
}

/** Whether anything was written to a writable layer. */
async function hasRecords(files: WritableFiles): Promise<boolean> {
	const size = await stat(files.index).then(({ size }) => size, () => 0);
	return size > lsmtHeaderSize;
}
