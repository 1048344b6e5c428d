// A frontend image run in a container, with the build on its standard input and output.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Duplex } from 'node:stream';
import { findFrontendImage, UnsupportedError, type FrontendImage } from '../../frontend/index.js';
import { HealthCheckResponse_ServingStatus, HealthDefinition, RpcServer } from '../grpc/index.js';
import { pb, type Definition } from '../llb/index.js';
import type { RunningContainer } from '../runtime/index.js';
import { Bridge } from './bridge.js';
import { LLBBridgeDefinition } from './gen/gateway.js';
import type { GatewayHost } from './host.js';
import type { FrontendOutput } from './output.js';
import { frontendClient, type SolveRequest } from './solve.js';

/** Milliseconds a frontend has to make its first call, to end once it has returned, and to end after its connection. */
const patience = { toSpeak: 60_000, toEnd: 10_000, toExplain: 1000 };
/** Of what a frontend prints, shown when it fails. */
const stderrTail = 4096;

const inputsCap = 'moby.buildkit.frontend.inputs';

/** Runs the frontend image `opts.source` names. Throws the error it returned, or says why it returned none. */
export async function solveInContainer(host: GatewayHost, { opts, inputs }: Pick<SolveRequest, 'opts' | 'inputs'>): Promise<FrontendOutput> {
	if (opts['gateway-devel'] !== undefined) throw new Error('development gateway is no longer supported');
	const source = opts['source'];
	if (source === undefined) throw new Error('no source specified for gateway');
	const found = await findFrontendImage(frontendClient(host, { opts, inputs }), source);
	checkCaps(found, opts, inputs);
	const ref = await host.reference(found.definition);
	if (!ref) throw new Error("gateway source didn't return default result");
	const mount = await host.worker.snapshots.writable(await ref.snapshot(), host.signal);
	try {
		return await new FrontendRun(host, source, found, { opts, inputs }).run(mount.root);
	} finally {
		await mount.abort();
	}
}

/** Names of a label's or an option's capabilities. */
function capNames(list: string | undefined): string[] {
	return (list ?? '').split(',').map((cap) => cap.split('+', 1)[0] ?? '').filter((name) => name !== '');
}

function checkCaps({ image }: FrontendImage, opts: Readonly<Record<string, string>>, inputs: ReadonlyMap<string, Definition>): void {
	const has = capNames(image?.config.Labels?.['moby.buildkit.frontend.caps']);
	const needed = [...capNames(opts['frontend.caps']), ...(inputs.size > 0 ? [inputsCap] : [])];
	const missing = needed.find((cap) => !has.includes(cap));
	if (missing !== undefined) throw new UnsupportedError('capability', missing);
}

class FrontendRun {
	readonly #bridge: Bridge;
	readonly #stop = new AbortController();
	#stderr = '';

	constructor(
		private readonly host: GatewayHost,
		private readonly source: string,
		private readonly found: FrontendImage,
		private readonly asked: Pick<SolveRequest, 'opts' | 'inputs'>,
	) {
		this.#bridge = new Bridge(host, asked.inputs);
	}

	async run(rootfs: string): Promise<FrontendOutput> {
		const metadata = await mkdtemp(path.join(this.host.worker.temporaryDir, 'frontend-'));
		const signal = AbortSignal.any([this.host.signal, this.#stop.signal]);
		try {
			await writeFile(path.join(metadata, 'frontend.bin'), pb.Definition.encode(this.found.definition).finish(), { mode: 0o400 });
			await this.#runContainer(rootfs, metadata, signal);
			this.#bridge.fail(new Error(`frontend ${this.source} ended without a result${this.#said()}`));
		} catch (error) {
			this.host.signal.throwIfAborted();
			// What the frontend returned says more than how it ended.
			this.#bridge.fail(signal.aborted ? signal.reason : new Error(`frontend ${this.source}: ${(error as Error).message}${this.#said()}`, { cause: error }));
		} finally {
			await rm(metadata, { recursive: true, force: true });
			await this.#bridge.close();
		}
		return this.#bridge.returned;
	}

	async #runContainer(rootfs: string, metadata: string, signal: AbortSignal): Promise<void> {
		const { Entrypoint = ['/run'], WorkingDir = '/', Labels = {} } = this.found.image?.config ?? {};
		const connection = new ContainerStream();
		const server = new RpcServer().add(LLBBridgeDefinition, this.#bridge.handlers).add(HealthDefinition, { check: () => ({ status: HealthCheckResponse_ServingStatus.SERVING }) });
		const served = server.serve(connection);
		const limits = this.#limit(served);
		try {
			await this.host.worker.runtime.run({
				rootfs,
				args: Entrypoint,
				env: this.#env(),
				cwd: WorkingDir || '/',
				user: '',
				input: 'pipe',
				mounts: [{ destination: '/run/config/buildkit/metadata', source: metadata, type: 'bind', options: ['rbind', 'ro', 'nosuid', 'nodev', 'noexec'] }],
				network: isTrue(Labels['moby.buildkit.frontend.network.none']) ? 'none' : 'default',
				security: 'sandbox',
				extraHosts: [],
				ulimits: [],
				removeMountStubsRecursive: true,
				signal,
				onStart: (container) => { connection.attach(container); },
				onOutput: (stream, data) => {
					if (stream === 1) connection.push(data);
					else this.#stderr = (this.#stderr + Buffer.from(data).toString()).slice(-stderrTail);
				},
			});
		} finally {
			limits.clear();
			connection.destroy();
			await served;
		}
	}

	/** Ends a frontend that says nothing or nonsense, or does not end after its last word. */
	#limit(served: Promise<void>): { clear(): void } {
		const stop = (after: number, message: string): NodeJS.Timeout => setTimeout(() => { this.#stop.abort(new Error(`frontend ${this.source} ${message}${this.#said()}`)); }, after);
		let timer = stop(patience.toSpeak, `has said nothing for ${patience.toSpeak / 1000} seconds: it does not speak BuildKit's gateway protocol on its standard output`);
		let cleared = false;
		void this.#bridge.spoken.then(() => { clearTimeout(timer); });
		const returned = (): void => {
			clearTimeout(timer);
			if (!cleared) timer = stop(patience.toEnd, 'has returned and does not end');
		};
		this.#bridge.returned.then(returned, returned);
		// Time for one that is just ending.
		void served.then(() => {
			if (cleared || this.#bridge.isReturned) return;
			clearTimeout(timer);
			timer = stop(patience.toExplain, 'has broken the connection: what it says on its standard output is not BuildKit\'s gateway protocol');
		});
		return {
			clear: () => {
				cleared = true;
				clearTimeout(timer);
			},
		};
	}

	#env(): string[] {
		const opts = Object.entries(this.asked.opts).map(([key, value], i) => `BUILDKIT_FRONTEND_OPT_${i}=${key}=${value}`);
		const workers = this.host.workers.map(({ ID, Labels, platforms }) => ({
			id: ID,
			labels: Object.fromEntries(Labels),
			platforms: platforms.map(({ OS, Architecture, Variant }) => ({ architecture: Architecture, os: OS, ...(Variant === '' ? {} : { variant: Variant }) })),
		}));
		return [
			...(this.found.image?.config.Env ?? []),
			...opts,
			`BUILDKIT_SESSION_ID=${this.host.sessionId}`,
			`BUILDKIT_WORKERS=${JSON.stringify(workers)}`,
			'BUILDKIT_EXPORTEDPRODUCT=buildkit',
		];
	}

	/** What it printed, to go behind a message. */
	#said(): string {
		const text = this.#stderr.trim();
		return text === '' ? '' : `:\n${text}`;
	}
}

/** The standard input and output of a container as one stream. */
class ContainerStream extends Duplex {
	#container: RunningContainer | undefined;
	/** A write that came before the container. */
	#early: (() => void) | undefined;

	attach(container: RunningContainer): void {
		this.#container = container;
		this.#early?.();
	}

	override _read(): void {
		// Chunks are pushed as they come: HTTP/2 has a window for what may come unasked.
	}

	override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
		const write = (): void => {
			const input = this.#container?.input;
			if (!input || input.destroyed) done(new Error('the container reads nothing'));
			else input.write(chunk, done);
		};
		if (this.#container) write();
		else this.#early = write;
	}

	override _final(done: () => void): void {
		this.#container?.input?.end();
		done();
	}

	override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
		this.#container?.input?.destroy();
		done(error);
	}
}

function isTrue(label: string | undefined): boolean {
	return ['1', 't', 'T', 'true', 'TRUE', 'True'].includes(label ?? '');
}
