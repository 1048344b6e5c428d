// Turns the layers of an ordinary image into overlaybd layers: each tar is unpacked onto the file system of
// the layers below and sealed, while the next ones are already downloading.
import { PassThrough, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { chainId } from '../image/index.js';
import { TarSink } from '../native/files.js';
import { snapshotOf, type LayerOrigin, type SealedLayer, type Snapshot, type SnapshotManager } from '../snapshot/index.js';

/** Layers that download while one is being unpacked. */
const downloadsAhead = 2;
/** Bytes a waiting download may hold. */
const heldBytes = 16 * 1024 * 1024;

/** Progress of one layer; all in bytes of the compressed layer. */
export interface LayerProgress {
	update(current: number, total?: number): void;
	done(): void;
}

export interface ConvertOptions {
	/** Overlaybd layers below them, bottom first, and their diffIDs; none for an ordinary image. */
	readonly base: { readonly layers: readonly SealedLayer[]; readonly diffIds: readonly string[] };
	/** Bottom first. */
	readonly layers: readonly LayerOrigin[];
	readonly snapshots: SnapshotManager;
	/** Opens the compressed bytes of a layer; they are checked against its digest by whoever opens them. */
	readonly open: (layer: LayerOrigin, signal: AbortSignal) => Promise<Readable>;
	/** What earlier conversions made, by chain ID. */
	readonly known: (chainId: string) => Promise<SealedLayer | undefined>;
	/** Remembers a converted layer once its blob is in the store. */
	readonly remember: (chainId: string, layer: SealedLayer) => Promise<void>;
	readonly progress: (layer: LayerOrigin) => LayerProgress;
	readonly signal: AbortSignal;
}

/** The image's file system as overlaybd layers, one for each of its own. */
export async function convertLayers(options: ConvertOptions): Promise<Snapshot> {
	const { base, layers, snapshots } = options;
	const chainIds = layers.map((_, i) => chainId([...base.diffIds, ...layers.slice(0, i + 1).map((layer) => layer.diffId)]));
	const converted = await knownPrefix(chainIds, options);
	let snapshot = snapshots.snapshot([...base.layers, ...converted]);
	const stop = new AbortController();
	const signal = AbortSignal.any([options.signal, stop.signal]);
	const downloads = new Downloads(converted.length, layers, options.open, signal);
	try {
		for (let i = converted.length; i < layers.length; i++) {
			const layer = layers[i];
			const chain = chainIds[i];
			if (!layer || chain === undefined) break;
			downloads.start(i + downloadsAhead);
			snapshot = await convertLayer({ layer, parent: snapshot, chain, stream: downloads.take(i), options });
		}
		return snapshot;
	} finally {
		stop.abort();
		await downloads.settled();
	}
}

/** The layers from the bottom up that were converted before and are still in the store. */
async function knownPrefix(chainIds: readonly string[], options: ConvertOptions): Promise<SealedLayer[]> {
	const known: SealedLayer[] = [];
	for (const id of chainIds) {
		const layer = await options.known(id);
		if (!layer) break;
		known.push(layer);
	}
	return known;
}

interface LayerJob {
	readonly layer: LayerOrigin;
	readonly parent: Snapshot;
	readonly chain: string;
	readonly stream: Readable;
	readonly options: ConvertOptions;
}

async function convertLayer({ layer, parent, chain, stream, options }: LayerJob): Promise<Snapshot> {
	const progress = options.progress(layer);
	const mount = await options.snapshots.writable(parent, options.signal);
	try {
		const sink = await TarSink.open(mount.root, 'layer');
		try {
			let done = 0;
			for await (const chunk of stream as AsyncIterable<Buffer>) {
				await sink.write(chunk);
				progress.update(done += chunk.length, layer.size);
			}
			const { diffId } = await sink.end();
			if (layer.diffId !== diffId) throw new Error(`layer ${layer.digest}: its content has digest ${diffId}, but the image config says ${layer.diffId}`);
		} catch (error) {
			await sink.abort();
			throw options.signal.aborted ? error : named(error, layer);
		}
		const snapshot = await mount.commit(uuidOfChain(chain));
		progress.done();
		return withOrigin(snapshot, layer, chain, options);
	} finally {
		await mount.abort();
	}
}

/** The error with the layer it happened in, in containerd's words. */
function named(error: unknown, layer: LayerOrigin): unknown {
	if (!(error instanceof Error) || error.message.includes(layer.digest)) return error;
	return new Error(`failed to extract layer ${layer.digest}: ${error.message}`, { cause: error });
}

/** Tells the top layer where it came from, and remembers it when its blob is done. */
function withOrigin(snapshot: Snapshot, origin: LayerOrigin, chain: string, options: ConvertOptions): Snapshot {
	const top = snapshot.layers.at(-1);
	if (!top) return snapshot;
	const sealed = top.sealed.then(async (blob) => {
		const layer = { ...blob, origin };
		await options.remember(chain, layer);
		return layer;
	});
	sealed.catch(() => undefined); // whoever needs the layer sees the error
	return snapshotOf([...snapshot.layers.slice(0, -1), { ...top, sealed }]);
}

/** As accelerated-container-image's convertor names layers: the first 32 hex digits of the chain ID. */
function uuidOfChain(chain: string): string {
	const hex = chain.slice(chain.indexOf(':') + 1);
	return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join('-');
}

/** Downloads of consecutive layers, a few ahead of the one being read. */
class Downloads {
	readonly #streams = new Map<number, PassThrough>();
	readonly #running: Promise<void>[] = [];
	#next: number;

	constructor(
		first: number,
		private readonly layers: readonly LayerOrigin[],
		private readonly open: ConvertOptions['open'],
		private readonly signal: AbortSignal,
	) {
		this.#next = first;
	}

	/** Starts every download up to layer `last` that has not been started. */
	start(last: number): void {
		for (; this.#next <= Math.min(last, this.layers.length - 1); this.#next++) this.#start(this.#next);
	}

	/** The bytes of a layer. */
	take(index: number): Readable {
		if (!this.#streams.has(index)) this.#start(index);
		const stream = this.#streams.get(index);
		if (!stream) throw new Error(`layer ${index} does not exist`);
		return stream;
	}

	/** Resolves when no download runs any more. */
	async settled(): Promise<void> {
		await Promise.all(this.#running);
	}

	#start(index: number): void {
		const layer = this.layers[index];
		if (!layer || this.#streams.has(index)) return;
		const stream = new PassThrough({ highWaterMark: heldBytes });
		stream.on('error', () => undefined); // the reader sees it
		this.#streams.set(index, stream);
		const run = async (): Promise<void> => {
			try {
				await pipeline(await this.open(layer, this.signal), stream, { signal: this.signal });
			} catch (error) {
				stream.destroy(error instanceof Error ? error : new Error(String(error)));
			}
		};
		this.#running.push(run());
	}
}
