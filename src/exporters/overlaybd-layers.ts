// The block layers of a snapshot as layers of an image. With rewrite-timestamp the layers above the base are
// made again, with no file later than the epoch.
import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { convertLayerType, layerType, overlaybdAnnotations } from '../image/index.js';
import { unpackTar, writeChangeset } from '../native/files.js';
import { sealedLayers, snapshotOf, type SealedLayer, type Snapshot, type SnapshotManager } from '../snapshot/index.js';
import type { BlobOrigin, ExportContext } from './content.js';
import type { LayerStore, ImageLayer } from './layers.js';

export class OverlaybdLayers {
	constructor(private readonly snapshots: SnapshotManager, private readonly store: LayerStore) {}

	/** One layer for each of the snapshot, bottom first. `epoch` (seconds) rewrites those from layer `base` on. */
	async layersOf(snapshot: Snapshot, ociMediaTypes: boolean, rewrite: { readonly epoch: number; readonly base: number } | undefined, context: ExportContext): Promise<ImageLayer[]> {
		const sealed = await sealedLayers(snapshot);
		const layers = rewrite ? await this.#rewritten(snapshot, sealed, rewrite.epoch, rewrite.base, context) : sealed;
		return Promise.all(layers.map((layer) => this.#layer(layer, ociMediaTypes)));
	}

	async #layer(layer: SealedLayer, ociMediaTypes: boolean): Promise<ImageLayer> {
		const { digest, size, createdAt, source, turbo } = layer;
		if (turbo) {
			const { target, annotations, mediaType } = turbo;
			return {
				blob: { descriptor: { mediaType: convertLayerType(mediaType, ociMediaTypes), digest, size, annotations }, origin: await this.#origin(layer) },
				target: { descriptor: target, origin: await this.#origin({ ...target, ...(source && { source }) }) },
				record: { diffId: turbo.diffId },
			};
		}
		return {
			blob: {
				descriptor: { mediaType: layerType('uncompressed', ociMediaTypes), digest, size, annotations: overlaybdAnnotations(digest, size) },
				origin: await this.#origin(layer),
			},
			record: { diffId: digest, ...(createdAt !== undefined && { createdAt }) },
		};
	}

	async #origin({ digest, size, source }: SealedLayer): Promise<BlobOrigin> {
		const path = await this.store.blobPath(digest, size);
		if (path !== undefined) return { kind: 'file', path };
		if (source) return { kind: 'remote', source };
		throw new Error(`layer ${digest} is neither in the store nor in a registry`);
	}

	async #rewritten(snapshot: Snapshot, sealed: readonly SealedLayer[], epoch: number, base: number, context: ExportContext): Promise<readonly SealedLayer[]> {
		const done: SealedLayer[] = sealed.slice(0, base);
		for (const [i, layer] of sealed.entries()) {
			if (i < base) continue;
			const key = ['rewritten', epoch, ...sealed.slice(0, i + 1).map(({ digest }) => digest)].join(' ');
			const found = await this.store.find(key);
			const { digest, size } = found ?? await this.#rewrite(key, snapshot, i, done, epoch, context);
			done.push({ digest, size, ...(layer.createdAt !== undefined && { createdAt: layer.createdAt }) });
		}
		return done;
	}

	/** What layer `index` changes, with its times clamped, on top of the layers made before. */
	async #rewrite(key: string, snapshot: Snapshot, index: number, below: readonly SealedLayer[], epoch: number, { signal }: ExportContext): Promise<SealedLayer> {
		const file = await this.store.temporaryPath();
		const lower = snapshotOf(snapshot.layers.slice(0, index));
		const upper = snapshotOf(snapshot.layers.slice(0, index + 1));
		const lowerView = await this.snapshots.view(lower, signal);
		try {
			const upperView = await this.snapshots.view(upper, signal);
			try {
				await writeChangeset({ ...(index > 0 && { lower: lowerView.root }), upper: upperView.root, out: file, compression: 'uncompressed', sourceDateEpoch: epoch }, { signal });
			} finally {
				await upperView.release();
			}
			const mount = await this.snapshots.writable(this.snapshots.snapshot(below), signal);
			try {
				await unpackTar(file, mount.root, { mode: 'layer', signal });
				const [layer] = (await sealedLayers(await mount.commit(uuidOf(key)))).slice(-1);
				if (!layer) throw new Error('a rewritten layer has vanished');
				await this.store.remember(key, { digest: layer.digest, diffId: layer.digest, size: layer.size });
				return layer;
			} finally {
				await mount.abort();
			}
		} finally {
			await lowerView.release();
			await rm(file, { force: true });
		}
	}
}

function uuidOf(key: string): string {
	const hex = createHash('sha256').update(key).digest('hex');
	return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join('-');
}
