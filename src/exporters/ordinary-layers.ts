// Ordinary OCI layers of a snapshot: for each overlaybd layer a tar of what changed against the chain below
// it, with whiteouts. A layer that was converted from an ordinary one gives that one again.
import { convertLayerType, isNonDistributable, layerCompression, layerType, type Descriptor } from '../image/index.js';
import { writeChangeset } from '../native/files.js';
import { sealedLayers, snapshotOf, type LayerOrigin, type SealedLayer, type Snapshot, type SnapshotManager } from '../snapshot/index.js';
import type { BlobOrigin, ExportContext } from './content.js';
import type { ImageLayer, LayerStore, StoredChangeset } from './layers.js';
import type { Compression, ImageOptions } from './options.js';

type OrdinaryCompression = Exclude<Compression, 'overlaybd'>;

/** Which layers get their times clamped: those from `base` on, to `epoch` seconds. */
export interface Rewrite {
	readonly epoch: number;
	readonly base: number;
}

export interface OrdinaryOptions extends Pick<ImageOptions, 'compression' | 'compressionLevel' | 'forceCompression' | 'ociMediaTypes' | 'preferNondistributable'> {
	readonly rewrite: Rewrite | undefined;
}

export class OrdinaryLayers {
	constructor(private readonly snapshots: SnapshotManager, private readonly store: LayerStore) {}

	/** One ordinary layer for each layer of the snapshot, bottom first. */
	async layersOf(snapshot: Snapshot, options: OrdinaryOptions, context: ExportContext): Promise<ImageLayer[]> {
		const sealed = await sealedLayers(snapshot);
		const layers: ImageLayer[] = [];
		for (const [i, layer] of sealed.entries()) {
			const epoch = options.rewrite && i >= options.rewrite.base ? options.rewrite.epoch : undefined;
			const origin = layer.origin && epoch === undefined ? await this.#reuse(layer.origin, options) : undefined;
			layers.push(withTime(origin ?? (await this.#changeset(snapshot, sealed, i, options, epoch, context)), layer));
		}
		return layers;
	}

	/** The layer this one was converted from, when its compression will do. */
	async #reuse({ mediaType, digest, size, diffId, source }: LayerOrigin, options: OrdinaryOptions): Promise<ImageLayer | undefined> {
		const has = layerCompression(mediaType);
		if (has === undefined || (options.forceCompression && has !== options.compression)) return undefined;
		const path = await this.store.blobPath(digest, size);
		const origin: BlobOrigin | undefined = path !== undefined ? { kind: 'file', path } : source && { kind: 'remote', source };
		if (!origin) return undefined;
		const keepsType = options.preferNondistributable && isNonDistributable(mediaType);
		return {
			blob: {
				descriptor: { mediaType: keepsType ? convertLayerType(mediaType, options.ociMediaTypes) : layerType(has, options.ociMediaTypes), digest, size },
				origin,
			},
			record: { diffId },
		};
	}

	async #changeset(snapshot: Snapshot, sealed: readonly SealedLayer[], index: number, options: OrdinaryOptions, epoch: number | undefined, context: ExportContext): Promise<ImageLayer> {
		const compression = options.compression as OrdinaryCompression;
		const key = [compression, options.compressionLevel ?? '', ...(epoch === undefined ? [] : [`epoch=${epoch}`]), ...sealed.slice(0, index + 1).map((layer) => layer.digest)].join(' ');
		const found = await this.store.find(key);
		const changeset = found ?? (await this.#write(key, snapshot, index, options, epoch, context));
		const path = await this.store.blobPath(changeset.digest, changeset.size);
		if (path === undefined) throw new Error(`layer ${changeset.digest} is not in the store`);
		const origin: BlobOrigin = { kind: 'file', path };
		const descriptor: Descriptor = {
			mediaType: layerType(compression, options.ociMediaTypes),
			digest: changeset.digest,
			size: changeset.size,
			// As BuildKit marks what it has rewritten.
			...(epoch !== undefined && { annotations: { 'buildkit/rewritten-timestamp': String(epoch) } }),
		};
		return { blob: { descriptor, origin }, record: { diffId: changeset.diffId } };
	}

	async #write(key: string, snapshot: Snapshot, index: number, options: OrdinaryOptions, epoch: number | undefined, { signal }: ExportContext): Promise<StoredChangeset> {
		const lower = snapshotOf(snapshot.layers.slice(0, index));
		const upper = snapshotOf(snapshot.layers.slice(0, index + 1));
		const out = await this.store.temporaryPath();
		const below = await this.snapshots.view(lower, signal);
		try {
			const above = await this.snapshots.view(upper, signal);
			try {
				const changeset = await writeChangeset({
					...(lower.layers.length > 0 && { lower: below.root }),
					upper: above.root,
					out,
					compression: options.compression as OrdinaryCompression,
					...(options.compressionLevel !== undefined && { level: options.compressionLevel }),
					...(epoch !== undefined && { sourceDateEpoch: epoch }),
				}, { signal });
				await this.store.keep(key, out, changeset);
				return changeset;
			} finally {
				await above.release();
			}
		} finally {
			await below.release();
		}
	}
}

function withTime(layer: ImageLayer, { createdAt }: SealedLayer): ImageLayer {
	return createdAt === undefined ? layer : { ...layer, record: { ...layer.record, createdAt } };
}
