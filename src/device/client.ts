// Starts the device server process and speaks for it: devices and layers as objects, errors as errors. When
// the server dies, a new one takes its devices over where the kernel lets it, and calls without an answer
// are made again. One with nothing to serve can be ended; the next call that needs one starts it.
import { mkdir, rm } from 'node:fs/promises';
import type { DeviceKind } from '../native/device.js';
import type { FileLock } from '../native/system.js';
import type { HostConfigs } from '../registry/index.js';
import { layersDirectory, lockServer, releaseLeft } from './leftovers.js';
import { chooseDevice, type DeviceChoice } from './probe.js';
import { defaultDetachTimeout, type EventName, type Message, type Method, type QuestionMessage, type ServerConfig, type ServerMethods } from './protocol.js';
import { ServedState } from './served-state.js';
import { ServerProcess } from './server-process.js';
import { within } from './within.js';
import type { Access, AccessCall, AttachOptions, CommittedLayer, CommitOptions, Device, DeviceError, DeviceServer, DeviceStats, ExplainedReads, FrozenLayer, LowerLayer, OpenLayers, TracedRun } from './types.js';

export interface DeviceServerOptions {
	/** The store's directory; fetched blocks are cached below it, for all builds of the host. */
	readonly root: string;
	/** Of this builder alone; made when missing. Working files, and the identity of its devices. */
	readonly instanceDir: string;
	/** How to talk to registries: mirrors, certificates. */
	readonly hosts?: HostConfigs;
	/** How the kernel reaches the devices; `auto`, the default, takes the fastest that works here. */
	readonly deviceKind?: DeviceChoice;
	/** Milliseconds without a byte from a registry after which a read is an I/O error; a minute by default. */
	readonly fetchTimeout?: number;
	/** Milliseconds after which a detach that has not ended is an error; half a minute by default. */
	readonly detachTimeout?: number;
	/** Bytes that fetched blocks may take on disk, those in use excepted; 4 GiB by default. */
	readonly blockCacheSize?: number;
	/** Keeps what `explainReads` needs. */
	readonly noteReads?: boolean;
	/** Who may read remote blobs; by default this host itself, by its own configuration. */
	readonly access?: Access;
}

/** The device server has ended, or could not be started. */
export class DeviceServerError extends Error {
	override readonly name = 'DeviceServerError';
}

interface Pending {
	readonly method: Method;
	readonly params: unknown;
	readonly resolve: (result: unknown) => void;
	readonly reject: (error: Error) => void;
}

/** A child that has not run its program yet has the last server's lock. */
const lockPatienceMs = 5000;
/** After this a server that was told to end is killed. */
const closeDeadlineMs = 15_000;
/** How long it may take to hear from a server that is alive. */
const answerPatienceMs = 15_000;
/** How long a killed server may take to end, and the kernel to take back what it had. */
const endDeadlineMs = 90_000;
/** A server that dies more often than this many times in the period is not replaced any more. */
const maxRestarts = 5;
const restartPeriodMs = 60_000;

/** The numbers of calls that are not made again: they begin anew with each server. */
const recoverCall = -1;
const accessCall = -2;

/** Starts a device server. Its devices, mounts included, go away with it or with this process, whatever ends first. */
export async function startDeviceServer(options: DeviceServerOptions): Promise<DeviceServer> {
	await mkdir(options.instanceDir, { recursive: true });
	const kind = await chooseDevice(options.deviceKind ?? 'auto');
	const lock = await lockServer(options.instanceDir, lockPatienceMs);
	if (!lock) throw new DeviceServerError(`the last device server of ${options.instanceDir} has not ended`);
	const client = new Client(options, kind, lock);
	await client.ready;
	return client;
}

class Client implements DeviceServer {
	readonly ready: Promise<void>;
	readonly #config: ServerConfig;
	readonly #access: Access | undefined;
	readonly #stopListening: (() => void) | undefined;
	readonly #state = new ServedState();
	readonly #pending = new Map<number, Pending>();
	readonly #listeners = new Set<(error: DeviceError) => void>();
	/** None after a rest. */
	#process: ServerProcess | undefined;
	/** Settles when the one that was last sent to rest has ended: it and the next have the same directory. */
	#rested: Promise<void> = Promise.resolve();
	#waking = false;
	/** Of the servers that rest, by digest. */
	readonly #fetchedBefore = new Map<string, number>();
	/** How often layers were opened that are not closed yet. */
	#opened = 0;
	/** False until the present server has taken over what there was: calls wait. */
	#live = false;
	#wasLive = false;
	#restarts: number[] = [];
	/** Settles when a server has ended that is not replaced. */
	readonly #over: Promise<void>;
	#calls = 0;
	#names = 0;
	#failure: DeviceServerError | undefined;
	#closing: Promise<void> | undefined;
	#becomeReady: { resolve: () => void; reject: (error: Error) => void } = { resolve: () => undefined, reject: () => undefined };
	#becomeOver: () => void = () => undefined;

	constructor({ root, instanceDir, hosts = {}, fetchTimeout, detachTimeout, blockCacheSize, noteReads, access }: DeviceServerOptions, kind: DeviceKind, private readonly lock: FileLock) {
		this.#access = access;
		this.#stopListening = access?.listen((call) => { this.#tell(call); });
		this.#config = { root, directory: instanceDir, kind, hosts, ...(fetchTimeout !== undefined && { fetchTimeout }), ...(detachTimeout !== undefined && { detachTimeout }), ...(blockCacheSize !== undefined && { blockCacheSize }), ...(noteReads !== undefined && { noteReads }) };
		this.ready = new Promise((resolve, reject) => {
			this.#becomeReady = { resolve, reject };
		});
		this.#over = new Promise((resolve) => {
			this.#becomeOver = resolve;
		});
		this.#process = this.#start();
	}

	async open(lowers: readonly LowerLayer[], prefetch: readonly TracedRun[]): Promise<OpenLayers> {
		const layers = this.#newName();
		await this.#call('open', { layers, lowers, prefetch });
		this.#opened++;
		let closing: Promise<void> | undefined;
		return { close: () => (closing ??= this.#callIfThere('closeLayers', { layers }).finally(() => { this.#opened--; })) };
	}

	async attach({ lowers, writable, ...options }: AttachOptions): Promise<Device> {
		const id = this.#newName();
		const top = writable ? this.#newName() : undefined;
		this.#state.attaching(id, lowers, top);
		try {
			const { path, size } = await this.#call('attach', { device: id, lowers, ...(top !== undefined && { top }), ...options });
			this.#state.attached(id);
			return this.#device(id, path, size);
		} catch (error) {
			await this.#forget(this.#state.detached(id));
			throw error;
		}
	}

	get failure(): Error | undefined {
		return this.#failure;
	}

	onError(listener: (error: DeviceError) => void): () => void {
		this.#listeners.add(listener);
		return () => void this.#listeners.delete(listener);
	}

	async fetched(): Promise<Readonly<Record<string, number>>> {
		const now = this.#isResting ? {} : await this.#call('fetched', null);
		const total = new Map(this.#fetchedBefore);
		for (const [digest, bytes] of Object.entries(now)) total.set(digest, (total.get(digest) ?? 0) + bytes);
		return Object.fromEntries(total);
	}

	explainReads(): Promise<ExplainedReads> {
		return this.#call('explainReads', null);
	}

	async stopFetching(): Promise<void> {
		if (!this.#isResting) await this.#call('stopFetching', null);
	}

	async resumeFetching(): Promise<void> {
		if (!this.#isResting) await this.#call('resumeFetching', null);
	}

	async rest(): Promise<void> {
		if (!this.#isIdle) return;
		const fetched = await this.#call('fetched', null);
		const server = this.#process;
		if (!this.#isIdle || !server) return; // somebody has come meanwhile
		for (const [digest, bytes] of Object.entries(fetched)) this.#fetchedBefore.set(digest, (this.#fetchedBefore.get(digest) ?? 0) + bytes);
		this.#process = undefined;
		this.#live = false;
		this.#rested = endProcess(server);
		await this.#rested;
	}

	/** Whether a server is there that has nothing to do. */
	get #isIdle(): boolean {
		return this.#live && this.#pending.size === 0 && this.#opened === 0 && this.#state.isEmpty && !this.#closing;
	}

	get #isResting(): boolean {
		return !this.#process && !this.#waking && !this.#failure;
	}

	close(): Promise<void> {
		this.#closing ??= this.#close();
		return this.#closing;
	}

	async #close(): Promise<void> {
		if (this.#isResting) {
			this.#stopListening?.();
			this.#failure = new DeviceServerError('the device server was closed');
			await this.#rested;
			return this.lock.release();
		}
		const timer = setTimeout(() => this.#process?.kill(), closeDeadlineMs);
		const end = async (): Promise<void> => {
			await this.#call('close', null).catch(() => undefined); // it may have ended before
			this.#process?.hangUp();
			await this.#over;
		};
		try {
			await within(closeDeadlineMs + endDeadlineMs, `the device server (process ${this.#process?.pid}), or a device of it, has not ended`, end());
		} finally {
			clearTimeout(timer);
			this.#process?.ref(false);
		}
	}

	#device(id: string, path: string, size: number): Device {
		let detached = false;
		return {
			id,
			path,
			size,
			seal: async ({ ifWrites } = {}) => {
				const next = this.#newName();
				this.#state.sealing(id, next);
				try {
					const { layer } = await this.#call('seal', { device: id, next, ...(ifWrites !== undefined && { ifWrites }) });
					this.#state.sealed(id, next, layer !== undefined);
					return layer === undefined ? undefined : this.#frozenLayer(layer);
				} catch (error) {
					this.#state.sealed(id, next, false);
					throw error;
				}
			},
			stats: (): Promise<DeviceStats> => this.#call('stats', { device: id }),
			recordedTrace: async () => Buffer.from(await this.#call('recordedTrace', { device: id }), 'base64'),
			replayTrace: async (trace) => void await this.#call('replayTrace', { device: id, trace: Buffer.from(trace).toString('base64') }),
			takeTrace: () => this.#call('takeTrace', { device: id }),
			prefetch: async (runs) => void await this.#call('prefetch', { device: id, runs }),
			detach: async () => {
				if (detached) return;
				// The server gives up by itself before, if it is alive.
				const patience = (this.#config.detachTimeout ?? defaultDetachTimeout) + answerPatienceMs;
				await within(patience, `${path} cannot be detached: the device server (process ${this.#process?.pid}) has not answered`, this.#callIfThere('detach', { device: id }));
				detached = true;
				await this.#forget(this.#state.detached(id));
			},
		};
	}

	#frozenLayer(id: string): FrozenLayer {
		let released = false;
		return {
			id,
			commit: (options: CommitOptions): Promise<CommittedLayer> =>
				released ? Promise.reject(new Error(`frozen layer ${id} was released`)) : this.#call('commit', { ...options, layer: id }),
			release: async () => {
				released = true;
				await this.#forget(this.#state.released(id));
			},
		};
	}

	/** Frozen layers that no device stands on, and nobody else needs. */
	async #forget(layers: readonly string[]): Promise<void> {
		await Promise.all(layers.map((layer) => this.#callIfThere('release', { layer })));
	}

	/** For what gives something back: a server that has ended has nothing any more. */
	async #callIfThere<M extends Method>(method: M, params: ServerMethods[M]['params']): Promise<void> {
		try {
			await this.#call(method, params);
		} catch (error) {
			if (!this.#failure) throw error;
		}
	}

	/** Of devices and writable layers, unique in this instance whatever server there is. */
	#newName(): string {
		return String(this.#names++);
	}

	#call<M extends Method>(method: M, params: ServerMethods[M]['params']): Promise<ServerMethods[M]['result']> {
		if (this.#failure) return Promise.reject(this.#failure);
		const call = this.#calls++;
		return new Promise((resolve, reject) => {
			this.#pending.set(call, { method, params, resolve: resolve as (result: unknown) => void, reject });
			this.#process?.ref(true);
			if (this.#live) this.#process?.send({ call, method, params });
			else if (this.#isResting) void this.#wake();
		});
	}

	async #wake(): Promise<void> {
		this.#waking = true;
		await this.#rested;
		this.#waking = false;
		this.#process = this.#start();
	}

	/** What one says that was sent to rest is of no interest. */
	#start(): ServerProcess {
		const server: ServerProcess = new ServerProcess(
			this.#config,
			this.lock.fd,
			(message) => { if (server === this.#process) this.#onMessage(message, server); },
			(how) => { if (server === this.#process) void this.#onEnd(how); },
		);
		return server;
	}

	#onMessage(message: Message, server: ServerProcess): void {
		if ('event' in message) return this.#onEvent(message.event, message.data, server);
		if ('ask' in message) return void this.#answer(message, server);
		if (!('reply' in message)) return;
		if (message.reply === recoverCall) return this.#becomeLive(server);
		const pending = this.#pending.get(message.reply);
		this.#pending.delete(message.reply);
		if (this.#pending.size === 0 && !this.#closing) server.ref(false);
		if (message.error === undefined) return pending?.resolve(message.result);
		const { message: text, code } = message.error;
		pending?.reject(Object.assign(new Error(text), code !== undefined && { code }));
	}

	#onEvent(event: EventName, data: unknown, server: ServerProcess): void {
		if (event === 'ready') {
			for (const call of this.#access?.calls() ?? []) this.#tell(call);
			if (this.#restarts.length === 0) return this.#becomeLive(server);
			const params: ServerMethods['recover']['params'] = { ...this.#state.snapshot(), generation: this.#restarts.length };
			server.send({ call: recoverCall, method: 'recover', params });
		} else {
			for (const listener of this.#listeners) listener(data as DeviceError);
		}
	}

	#tell({ method, params }: AccessCall): void {
		this.#process?.send({ call: accessCall, method, params });
	}

	async #answer({ ask, question }: QuestionMessage, asker: ServerProcess): Promise<void> {
		try {
			asker.send({ answer: ask, result: await this.#access?.answer(question) });
		} catch (error) {
			asker.send({ answer: ask, error: error instanceof Error ? error.message : String(error) });
		}
	}

	/** The server can be called: whatever has no answer is asked, for the first time or again. */
	#becomeLive(server: ServerProcess): void {
		this.#live = true;
		this.#wasLive = true;
		this.#becomeReady.resolve();
		for (const [call, { method, params }] of this.#pending) server.send({ call, method, params });
		if (this.#pending.size === 0) server.ref(false);
	}

	async #onEnd(how: string): Promise<void> {
		this.#live = false;
		const reason = `the device server ${how}`;
		if (this.#mayRestart()) {
			process.emitWarning(`${reason}; its devices are taken over by a new one`, 'DeviceServerWarning');
			this.#restarts.push(performance.now());
			this.#process = this.#start();
			return;
		}
		this.#stopListening?.();
		// Whatever the server had is released here when it could not do it itself.
		this.#failure = new DeviceServerError(reason);
		const pending = [...this.#pending.values(), this.#becomeReady];
		this.#pending.clear();
		await releaseLeft(this.#config.directory).then(() => rm(layersDirectory(this.#config.directory), { recursive: true, force: true })).catch((error: unknown) => {
			this.#failure = new DeviceServerError(`${reason}; what it left could not be released`, { cause: error });
		});
		await this.lock.release();
		for (const { reject } of pending) reject(this.#failure);
		this.#becomeOver();
	}

	#mayRestart(): boolean {
		// The kernel fails the requests of a fuse device as soon as its server is gone.
		if (this.#closing || !this.#wasLive || this.#config.kind === 'fuse') return false;
		const lately = this.#restarts.filter((time) => performance.now() - time < restartPeriodMs);
		return lately.length < maxRestarts;
	}
}

/** Lets a server go that has nothing to do. */
async function endProcess(server: ServerProcess): Promise<void> {
	server.ref(true);
	const timer = setTimeout(() => server.kill(), closeDeadlineMs);
	server.hangUp();
	await server.ended;
	clearTimeout(timer);
}
