// Images outside of a build: attached, run, or brought here whole. For obd-image.
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { formatPlatform, type ImageConfig, type Platform } from '../image/index.js';
import { pb } from '../llb/index.js';
import { ExitError } from '../runtime/index.js';
import { blobsOf, sealedLayers, type Snapshot } from '../snapshot/index.js';
import { VertexReporter } from '../solver/index.js';
import type { ImageSourceInfo } from '../sources/index.js';
import { checkAcceleratable } from './acceleration.js';
import type { Builder } from './builder.js';
import { LocalSession } from './session.js';

export interface OpenedImage {
	/** With the digest of what the reference named. */
	readonly reference: string;
	readonly config: ImageConfig;
	readonly snapshot: Snapshot;
	/** Bytes of all layer blobs. */
	readonly size: number;
}

/** The image a reference names, as a snapshot: overlaybd layers lazily, others converted. */
export async function openImage(builder: Builder, reference: string, platform: Platform, signal: AbortSignal): Promise<OpenedImage> {
	const session = new LocalSession({ localDirectories: {}, secrets: {}, ssh: {}, contentStores: {} }, () => Promise.reject(new Error('no directories here')));
	const reporter = new VertexReporter({ digest: reference, name: reference, inputs: [] });
	const { resolved } = await builder.resolver.resolve(reference, platform, session, signal);
	const source = builder.worker.sources.source(pb.SourceOp.create({ identifier: `docker-image://${reference}` }), platform);
	const content = await source.fetch({ session, reporter, signal });
	if (content.kind !== 'snapshot') throw new Error(`${reference} is no image`);
	const layers = await sealedLayers(content.snapshot);
	return { reference: resolved.reference, config: resolved.config, snapshot: content.snapshot, size: layers.flatMap(blobsOf).reduce((sum, { size }) => sum + size, 0) };
}

/** What a reference names and where it is, for the builder's own rooms. */
async function resolve(builder: Builder, reference: string, platform: Platform, signal: AbortSignal): Promise<ImageSourceInfo> {
	const session = new LocalSession({ localDirectories: {}, secrets: {}, ssh: {}, contentStores: {} }, () => Promise.reject(new Error('no directories here')));
	return builder.resolver.resolve(reference, platform, session, signal);
}

export interface RecordOptions extends RunOptions {
	readonly platform: Platform;
	/** The container is told to end after so many milliseconds. */
	readonly timeLimit: number;
	/** Instead of a run. */
	readonly priorityList?: Uint8Array;
}

/** Pushes an image with a trace of what its start reads on top, as `target`. Returns the manifest's digest. */
export async function recordTrace(builder: Builder, image: OpenedImage, target: string, options: RecordOptions): Promise<string> {
	const { signal, platform } = options;
	const { resolved, source } = await resolve(builder, image.reference, platform, signal);
	checkAcceleratable(resolved.manifest);
	const trace = options.priorityList ?? (await traceOf(builder, image, options));
	return builder.pushAccelerated({ resolved, source, target, trace, signal });
}

async function traceOf(builder: Builder, image: OpenedImage, { timeLimit, signal, ...run }: RecordOptions): Promise<Uint8Array> {
	const limit = AbortSignal.timeout(timeLimit);
	let trace: Uint8Array | undefined;
	try {
		await runImage(builder, image, { ...run, signal: AbortSignal.any([signal, limit]), onTrace: (recorded) => { trace = recorded; } });
	} catch (error) {
		// What was read until the time was over, or the command failed, is the trace all the same.
		if (signal.aborted || (!limit.aborted && !(error instanceof ExitError))) throw error;
	}
	if (!trace) throw new Error(`${image.reference}: no trace was recorded`);
	return trace;
}

export interface RunOptions {
	/** Replaces the image's Cmd. */
	readonly args: readonly string[];
	readonly onOutput: (stream: 1 | 2, data: Uint8Array) => void;
	readonly signal: AbortSignal;
	/** Gets what was read, as overlaybd's trace file, when the command has ended. */
	readonly onTrace?: (trace: Uint8Array) => void;
}

/** Runs an image's command on a throw-away writable layer. Throws ExitError when it fails. */
export async function runImage(builder: Builder, image: OpenedImage, { args, onOutput, signal, onTrace }: RunOptions): Promise<void> {
	const { snapshots, runtime } = builder.worker;
	const config = image.config.config ?? {};
	const command = [...(config.Entrypoint ?? []), ...(args.length > 0 ? args : config.Cmd ?? [])];
	if (command.length === 0) throw new Error(`${image.reference}: no command specified, and the image has no Cmd`);
	const mount = await snapshots.writable(image.snapshot, signal, { recordTrace: onTrace !== undefined });
	try {
		await runtime.run({
			rootfs: mount.root,
			args: command,
			env: config.Env ?? [],
			cwd: config.WorkingDir || '/',
			user: config.User ?? '',
			mounts: [],
			network: 'host',
			security: 'sandbox',
			extraHosts: [],
			ulimits: [],
			signal,
			onOutput,
		});
	} finally {
		try {
			if (onTrace) onTrace(await mount.recordedTrace());
		} finally {
			await mount.abort();
		}
	}
}

/** Mounts an image read-only at `target` (made when missing) until `signal` aborts. */
export async function mountImage(builder: Builder, image: OpenedImage, target: string, signal: AbortSignal, onMounted: () => void): Promise<void> {
	const directory = path.resolve(target);
	await mkdir(directory, { recursive: true });
	const view = await builder.worker.snapshots.view(image.snapshot, signal);
	try {
		await builder.bind(view.root, directory, async () => {
			onMounted();
			await aborted(signal);
		});
	} finally {
		await view.release();
	}
}

/** Resolves when `signal` aborts; keeps the process alive until then, which a device server that serves does not. */
function aborted(signal: AbortSignal): Promise<void> {
	return new Promise((resolve) => {
		if (signal.aborted) return resolve();
		const awake = setInterval(() => undefined, 2 ** 30);
		signal.addEventListener('abort', () => {
			clearInterval(awake);
			resolve();
		}, { once: true });
	});
}

/** Pushes an opened image, converted if it was an ordinary one, as an overlaybd image. Returns the manifest's digest. */
export async function convertImage(builder: Builder, image: OpenedImage, target: string, platform: Platform, signal: AbortSignal): Promise<string> {
	const reporter = new VertexReporter({ digest: target, name: target, inputs: [] });
	const output = { platforms: [{ id: formatPlatform(platform), platform, snapshot: image.snapshot, config: image.config }], multiPlatform: false };
	const { response } = await builder.exporter.run({ type: 'image', attributes: { name: target, push: 'true' } }, output, { signal, reporter });
	return response['containerimage.digest'] ?? '';
}
