// Starts the device server process and speaks for it: devices and layers as objects, errors as errors.
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { DeviceKind } from '../native/device.js';
import type { HostConfigs } from '../registry/index.js';
import { Channel } from './channel.js';
import { releaseDevices } from './leftovers.js';
import { chooseDevice } from './probe.js';
import type { EventName, Message, Method, ServerConfig, ServerMethods } from './protocol.js';
import type { AttachOptions, CommittedLayer, CommitOptions, Device, DeviceError, DeviceServer, DeviceStats, FrozenLayer } from './types.js';

export interface DeviceServerOptions {
	/** The store's directory; fetched blocks are cached below it, for all builds of the host. */
	readonly root: string;
	/** Of this builder alone; made when missing. Working files, and the identity of its devices. */
	readonly instanceDir: string;
	/** How to talk to registries: mirrors, certificates. */
	readonly hosts?: HostConfigs;
	/** How the kernel reaches the devices; `auto`, the default, takes the fastest that works here. */
	readonly deviceKind?: DeviceKind | 'auto';
}

/** The device server has ended, or could not be started. */
export class DeviceServerError extends Error {
	override readonly name = 'DeviceServerError';
}

interface Pending {
	readonly resolve: (result: unknown) => void;
	readonly reject: (error: Error) => void;
}

/** Bytes of the server's stderr kept for the message when it dies. */
const stderrTail = 4096;
/** After this a server that was told to end is killed. */
const closeDeadlineMs = 15_000;

/** Starts a device server. Its devices, mounts included, go away with it or with this process, whatever ends first. */
export async function startDeviceServer(options: DeviceServerOptions): Promise<DeviceServer> {
	await mkdir(options.instanceDir, { recursive: true });
	const client = new Client(options, await chooseDevice(options.deviceKind ?? 'auto'));
	await client.ready;
	return client;
}

class Client implements DeviceServer {
	readonly ready: Promise<void>;
	readonly #child: ChildProcess;
	readonly #socket: Socket;
	readonly #channel: Channel;
	readonly #directory: string;
	readonly #pending = new Map<number, Pending>();
	readonly #listeners = new Set<(error: DeviceError) => void>();
	readonly #ended: Promise<void>;
	#calls = 0;
	#stderr = '';
	#failure: DeviceServerError | undefined;
	#closing: Promise<void> | undefined;
	#becomeReady: Pending = { resolve: () => undefined, reject: () => undefined };

	constructor({ root, instanceDir, hosts = {} }: DeviceServerOptions, kind: DeviceKind) {
		this.#directory = instanceDir;
		const config: ServerConfig = { root, directory: instanceDir, kind, hosts };
		const main = fileURLToPath(new URL('./server-main.js', import.meta.url));
		// A session of its own: signals of the terminal reach the builder alone.
		this.#child = spawn(process.execPath, [main, JSON.stringify(config)], { detached: true, stdio: ['ignore', 'ignore', 'pipe', 'pipe'], cwd: '/' });
		this.#socket = this.#child.stdio[3] as Socket;
		this.#channel = new Channel(this.#socket, (message) => this.#onMessage(message), () => undefined);
		this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
			this.#stderr = (this.#stderr + text).slice(-stderrTail);
		});
		this.#ended = new Promise((resolve) => {
			this.#child.once('error', (error) => resolve(this.#onEnd(`could not be started: ${error.message}`)));
			this.#child.once('close', (code, signal) => resolve(this.#onEnd(signal ? `was killed by ${signal}` : `ended with code ${code}`)));
		});
		this.ready = new Promise((resolve, reject) => {
			this.#becomeReady = { resolve: () => resolve(), reject };
		});
	}

	async attach(options: AttachOptions): Promise<Device> {
		const { id, path, size } = await this.#call('attach', options);
		let detached = false;
		return {
			id,
			path,
			size,
			seal: async ({ ifWrites } = {}) => {
				const { layer } = await this.#call('seal', { device: id, ...(ifWrites !== undefined && { ifWrites }) });
				return layer === undefined ? undefined : this.#frozenLayer(layer);
			},
			stats: (): Promise<DeviceStats> => this.#call('stats', { device: id }),
			detach: async () => {
				if (detached) return;
				await this.#call('detach', { device: id });
				detached = true;
			},
		};
	}

	onError(listener: (error: DeviceError) => void): () => void {
		this.#listeners.add(listener);
		return () => void this.#listeners.delete(listener);
	}

	fetched(): Promise<Readonly<Record<string, number>>> {
		return this.#call('fetched', null);
	}

	close(): Promise<void> {
		this.#closing ??= this.#close();
		return this.#closing;
	}

	async #close(): Promise<void> {
		this.#ref(true);
		const timer = setTimeout(() => this.#child.kill('SIGKILL'), closeDeadlineMs);
		await this.#call('close', null).catch(() => undefined); // it may have ended before
		this.#socket.end();
		await this.#ended;
		clearTimeout(timer);
	}

	#frozenLayer(id: string): FrozenLayer {
		return {
			id,
			commit: (options: CommitOptions): Promise<CommittedLayer> => this.#call('commit', { ...options, layer: id }),
			release: async () => void (await this.#call('release', { layer: id })),
		};
	}

	#call<M extends Method>(method: M, params: ServerMethods[M]['params']): Promise<ServerMethods[M]['result']> {
		if (this.#failure) return Promise.reject(this.#failure);
		const call = this.#calls++;
		return new Promise((resolve, reject) => {
			this.#pending.set(call, { resolve: resolve as (result: unknown) => void, reject });
			this.#ref(true);
			this.#channel.send({ call, method, params });
		});
	}

	#onMessage(message: Message): void {
		if ('event' in message) return this.#onEvent(message.event, message.data);
		if (!('reply' in message)) return;
		const pending = this.#pending.get(message.reply);
		this.#pending.delete(message.reply);
		if (this.#pending.size === 0 && !this.#closing) this.#ref(false);
		if (message.error === undefined) return pending?.resolve(message.result);
		const { message: text, code } = message.error;
		pending?.reject(Object.assign(new Error(text), code !== undefined && { code }));
	}

	#onEvent(event: EventName, data: unknown): void {
		if (event === 'ready') {
			this.#becomeReady.resolve(undefined);
			this.#ref(false);
		} else {
			for (const listener of this.#listeners) listener(data as DeviceError);
		}
	}

	/** The process waits for the server only while it waits for an answer. */
	#ref(wanted: boolean): void {
		const stderr = this.#child.stderr as Socket | null;
		for (const handle of [this.#child, this.#socket, stderr]) {
			if (wanted) handle?.ref();
			else handle?.unref();
		}
	}

	/** Whatever the server had is released here when it could not do it itself. */
	async #onEnd(how: string): Promise<void> {
		const detail = this.#stderr.trim();
		this.#failure = new DeviceServerError(`the device server ${how}${detail === '' ? '' : `:\n${detail}`}`);
		const pending = [...this.#pending.values(), this.#becomeReady];
		this.#pending.clear();
		await releaseDevices(this.#directory).catch((error: unknown) => {
			this.#failure = new DeviceServerError(`${this.#failure?.message ?? ''}; what it left could not be released`, { cause: error });
		});
		for (const { reject } of pending) reject(this.#failure);
	}
}
