// What the device server process does with the builder's calls: layers and devices by name on top of the
// native numbers, and the working files of writable layers.
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { deviceAddon, type DeviceFault, type DeviceKind, type WritableFiles } from '../native/device.js';
import { answerFetch, type BlobFetcher } from './fetcher.js';
import { instanceLabel, layersDirectory, mountsOf, unmountDevices } from './leftovers.js';
import type { Method, ServerConfig, ServerMethods } from './protocol.js';
import type { DeviceError, LowerLayer } from './types.js';

interface ServedDevice {
	readonly number: number;
	readonly path: string;
	/** Layers whose bytes come from registries. */
	readonly remoteDigests: readonly string[];
	/** Of the writable layer on top. */
	files: WritableFiles | undefined;
}

interface ServedLayer {
	readonly number: number;
	readonly files: WritableFiles;
}

type Handlers = { readonly [M in Method]: (params: ServerMethods[M]['params']) => Promise<ServerMethods[M]['result']> };

/** Mounts of a device that was just unmounted lazily may last until a dying container is gone. */
const closePatienceMs = 10_000;

export class Server {
	readonly #devices = new Map<string, ServedDevice>();
	readonly #frozen = new Map<string, ServedLayer>();
	readonly #filesDir: string;
	readonly #cacheDir: string;
	readonly #label: string;
	readonly #kind: DeviceKind;
	readonly #closing = new AbortController();
	#fileCount = 0;

	private constructor(config: ServerConfig) {
		this.#filesDir = layersDirectory(config.directory);
		this.#cacheDir = path.join(config.root, 'cache', 'blocks');
		this.#label = instanceLabel(config.directory);
		this.#kind = config.kind;
	}

	/** `onError` is told of failed block requests. The fetcher is asked for when the first remote layer is read. */
	static async start(config: ServerConfig, fetcher: () => Promise<BlobFetcher>, onError: (error: DeviceError) => void): Promise<Server> {
		const server = new Server(config);
		await Promise.all([mkdir(server.#filesDir, { recursive: true }), mkdir(server.#cacheDir, { recursive: true })]);
		deviceAddon().startDeviceHost(
			(request) => void answerFetch(fetcher, request, server.#closing.signal),
			(fault) => onError(server.#describe(fault)),
		);
		return server;
	}

	readonly handlers: Handlers = {
		attach: async ({ lowers, writable, virtualSize }) => {
			const opened = await this.#openAll(lowers);
			const files = writable ? this.#newFiles() : undefined;
			try {
				const label = `${this.#label}/${this.#fileCount++}`;
				const device = await deviceAddon().attachDevice(this.#kind, opened.map((layer) => layer.number), files, virtualSize ?? 0, label, this.#filesDir);
				const id = String(device.id);
				const remoteDigests = lowers.flatMap((lower) => (lower.kind === 'remote' ? [lower.digest] : []));
				this.#devices.set(id, { number: device.id, path: device.path, files, remoteDigests });
				return { id, path: device.path, size: device.size };
			} finally {
				for (const layer of opened) layer.close();
			}
		},
		seal: async ({ device: id, ifWrites }) => {
			const device = this.#device(id);
			const next = this.#newFiles();
			const number = await deviceAddon().sealDevice(device.number, next, ifWrites);
			if (number === undefined || device.files === undefined) return {};
			const layer = String(number);
			this.#frozen.set(layer, { number, files: device.files });
			device.files = next;
			return { layer };
		},
		stats: ({ device: id }) => {
			const device = this.#device(id);
			const fetched = deviceAddon().fetchedBytes();
			const own = device.remoteDigests.flatMap((digest) => (fetched[digest] === undefined ? [] : [[digest, fetched[digest]]]));
			return Promise.resolve({ ...deviceAddon().deviceCounters(device.number), fetched: Object.fromEntries(own) as Record<string, number> });
		},
		detach: async ({ device: id }) => {
			const device = this.#devices.get(id);
			if (!device) return null;
			if (!(await deviceAddon().detachDevice(device.number))) throw await busy(device.path);
			this.#devices.delete(id);
			await removeFiles(device.files);
			return null;
		},
		commit: ({ layer, path: target, uuid, parentUuid }) => deviceAddon().commitLayer(this.#layer(layer).number, target, uuid, parentUuid),
		release: async ({ layer: id }) => {
			const layer = this.#frozen.get(id);
			if (!layer) return null;
			this.#frozen.delete(id);
			deviceAddon().closeLayer(layer.number);
			await removeFiles(layer.files); // devices that stand on it have the files open
			return null;
		},
		fetched: () => Promise.resolve(deviceAddon().fetchedBytes()),
		close: async () => {
			await this.#closeDevices();
			return null;
		},
	};

	/** Unmounts what is mounted from the devices and detaches them, for as long as that may reasonably take. */
	async #closeDevices(): Promise<void> {
		this.#closing.abort(new Error('the device server is ending')); // no unmount waits for a registry
		const deadline = performance.now() + closePatienceMs;
		await unmountDevices([...this.#devices.values()].map((device) => device.path));
		const detach = async (id: string, device: ServedDevice): Promise<void> => {
			while (!(await deviceAddon().detachDevice(device.number)) && performance.now() < deadline);
			this.#devices.delete(id);
		};
		await Promise.all([...this.#devices].map(([id, device]) => detach(id, device)));
		await rm(this.#filesDir, { recursive: true, force: true });
	}

	/** Opens the lowers side by side: a remote one waits for its trailer and index. */
	async #openAll(lowers: readonly LowerLayer[]): Promise<{ number: number; close: () => void }[]> {
		const results = await Promise.allSettled(lowers.map((lower) => this.#open(lower)));
		const opened = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
		const failed = results.find((result) => result.status === 'rejected');
		if (failed === undefined) return opened;
		for (const layer of opened) layer.close();
		throw failed.reason;
	}

	async #open(lower: LowerLayer): Promise<{ number: number; close: () => void }> {
		if (lower.kind === 'frozen') return { number: this.#layer(lower.id).number, close: () => undefined };
		const number =
			lower.kind === 'blob'
				? await deviceAddon().openLayerFile(lower.digest, lower.path)
				: await deviceAddon().openRemoteLayer(lower.digest, lower.size, JSON.stringify(lower.source), this.#cacheDir);
		return { number, close: () => deviceAddon().closeLayer(number) };
	}

	#newFiles(): WritableFiles {
		const base = path.join(this.#filesDir, String(this.#fileCount++));
		return { data: `${base}.data`, index: `${base}.index` };
	}

	#device(id: string): ServedDevice {
		const device = this.#devices.get(id);
		if (!device) throw new Error(`device ${id} is not attached`);
		return device;
	}

	#layer(id: string): ServedLayer {
		const layer = this.#frozen.get(id);
		if (!layer) throw new Error(`frozen layer ${id} was released`);
		return layer;
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

async function removeFiles(files: WritableFiles | undefined): Promise<void> {
	if (!files) return;
	await Promise.all([rm(files.data, { force: true }), rm(files.index, { force: true })]);
}
