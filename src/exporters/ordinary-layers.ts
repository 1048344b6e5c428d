// Ordinary OCI layers of a snapshot: for each overlaybd layer a tar of what changed against the chain below
// it, with whiteouts. A layer that was converted from an ordinary one gives that one again.
import { layerCompression, layerType, type Descriptor } from '../image/index.js';
import { writeChangeset } from '../native/files.js';
import { sealedLayers, snapshotOf, type LayerOrigin, type SealedLayer, type Snapshot, type SnapshotManager } from '../snapshot/index.js';
import type { BlobOrigin, ExportContext, ImageBlob } from './content.js';
import type { Compression, ImageOptions } from './options.js';

type OrdinaryCompression = Exclude<Compression, 'overlaybd'>;

/** A changeset that is in the store. */
export interface StoredChangeset {
	readonly digest: string;
	readonly diffId: string;
	readonly size: number;
}

export interface OrdinaryLayerStore {
	/** A changeset made earlier for the same chain and compression, if it is still there. */
	find(key: string): Promise<StoredChangeset | undefined>;
	temporaryPath(): Promise<string>;
	/** Moves a finished blob into the store and remembers it under `key`. */
	keep(key: string, temporaryPath: string, changeset: StoredChangeset): Promise<void>;
	blobPath(digest: string, size: number): Promise<string | undefined>;
}

export interface OrdinaryLayer {
	readonly blob: ImageBlob;
	readonly record: { readonly diffId: string; readonly createdAt?: string };
}

export class OrdinaryLayers {
	constructor(private readonly snapshots: SnapshotManager, private readonly store: OrdinaryLayerStore) {}

	/** One ordinary layer for each layer of the snapshot, bottom first. */
	async layersOf(snapshot: Snapshot, options: ImageOptions, context: ExportContext): Promise<OrdinaryLayer[]> {
		const sealed = await sealedLayers(snapshot);
		const layers: OrdinaryLayer[] = [];
		for (const [i, layer] of sealed.entries()) {
			const origin = layer.origin && (await this.#reuse(layer.origin, options));
			layers.push(origin ? withTime(origin, layer) : withTime(await this.#changeset(snapshot, sealed, i, options, context), layer));
		}
		return layers;
	}

	/** The layer this one was converted from, when its compression will do. */
	async #reuse({ mediaType, digest, size, diffId, source }: LayerOrigin, options: ImageOptions): Promise<OrdinaryLayer | undefined> {
		const has = layerCompression(mediaType);
		if (has === undefined || (options.forceCompression && has !== options.compression)) return undefined;
		const path = await this.store.blobPath(digest, size);
		const origin: BlobOrigin | undefined = path !== undefined ? { kind: 'file', path } : source && { kind: 'remote', source };
		if (!origin) return undefined;
		return {
			blob: {
				descriptor: { mediaType: layerType(has, options.ociMediaTypes), digest, size },
				origin,
			},
			record: { diffId },
		};
	}

	async #changeset(snapshot: Snapshot, sealed: readonly SealedLayer[], index: number, options: ImageOptions, context: ExportContext): Promise<OrdinaryLayer> {
		const compression = options.compression as OrdinaryCompression;
		const key = [compression, options.compressionLevel ?? '', ...sealed.slice(0, index + 1).map((layer) => layer.digest)].join(' ');
		const found = await this.store.find(key);
		const changeset = found ?? (await this.#write(key, snapshot, index, options, context));
		const path = await this.store.blobPath(changeset.digest, changeset.size);
		if (path === undefined) throw new Error(`layer ${changeset.digest} is not in the store`);
		const origin: BlobOrigin = { kind: 'file', path };
		const descriptor: Descriptor = { mediaType: layerType(compression, options.ociMediaTypes), digest: changeset.digest, size: changeset.size };
		return { blob: { descriptor, origin }, record: { diffId: changeset.diffId } };
	}

	async #write(key: string, snapshot: Snapshot, index: number, options: ImageOptions, context: ExportContext): Promise<StoredChangeset> {
		const lower = snapshotOf(snapshot.layers.slice(0, index));
		const upper = snapshotOf(snapshot.layers.slice(0, index + 1));
		const out = await this.store.temporaryPath();
		const below = await this.snapshots.view(lower, context.signal);
		try {
			const above = await this.snapshots.view(upper, context.signal);
			try {
				const changeset = await writeChangeset({
					...(lower.layers.length > 0 && { lower: below.root }),
					upper: above.root,
					out,
					compression: options.compression as OrdinaryCompression,
					...(options.compressionLevel !== undefined && { level: options.compressionLevel }),
				}, { signal: context.signal });
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

function withTime(layer: OrdinaryLayer, { createdAt }: SealedLayer): OrdinaryLayer {
	return createdAt === undefined ? layer : { ...layer, record: { ...layer.record, createdAt } };
}
