// The store as each room below the builder wants to see it: small adapters over one store and one lease.
import { createHash } from 'node:crypto';
import { blobRef, type Protection, type Records, type Store } from '../store/index.js';
import type { ExporterOptions, StoredChangeset } from '../exporters/index.js';
import type { ContentCache } from '../registry/index.js';
import type { FormerCopies } from '../ops/index.js';
import type { LayerStore, SealedLayer, TraceStore } from '../snapshot/index.js';
import type { BlobImport, ConvertedLayers, Download, Downloads } from '../sources/index.js';

type ExportStore = ExporterOptions['store'];
type CommittedImage = Parameters<ExportStore['keepImage']>[1];

/** An image that was built here, by name. */
export interface StoredImage {
	readonly root: CommittedImage['root'];
}

/** What the last run of a copy made: the layer, and a blob of notes on it. */
export interface StoredCopy {
	readonly layer: SealedLayer;
	readonly notes: { readonly digest: string; readonly size: number };
}

/** What a step read of remote layers: each run's layer is a place in `digests`. */
interface StoredTrace {
	readonly digests: readonly string[];
	readonly runs: readonly (readonly [digest: number, first: number, count: number])[];
}

export class Stores {
	readonly layers: LayerStore;
	readonly converted: ConvertedLayers;
	readonly exports: ExportStore;
	readonly downloads: Downloads;
	readonly traces: TraceStore;
	readonly formerCopies: FormerCopies;
	readonly blobs: BlobImport;
	/** Manifests and configs that were read from registries. */
	readonly documents: ContentCache;

	constructor(private readonly store: Store, private readonly lease: Protection) {
		const convertedLayers = store.records<SealedLayer>('converted');
		const changesets = store.records<StoredChangeset>('changesets');
		const images = store.records<StoredImage>('images');
		const downloads = store.records<Download>('downloads');
		const traces = store.records<StoredTrace>('traces');
		const copies = store.records<StoredCopy>('copies');
		const blobPath = (digest: string, size: number): Promise<string | undefined> => this.#blobPath(digest, size);
		const temporaryPath = (): Promise<string> => store.blobs.temporaryPath();
		const adopt = async (file: string, digest: string, size: number): Promise<void> => {
			await store.blobs.adopt(file, { digest, size }, lease);
		};
		this.traces = {
			get: (key) => {
				const found = traces.get(key)?.value;
				return found?.runs.map(([digest, first, count]) => ({ digest: found.digests[digest] ?? '', first, count }));
			},
			put: async (key, runs) => {
				const digests = [...new Set(runs.map(({ digest }) => digest))];
				await traces.put(key, { digests, runs: runs.map(({ digest, first, count }) => [digests.indexOf(digest), first, count]) });
			},
		};
		this.layers = { blobPath, temporaryPath, adopt };
		this.formerCopies = {
			find: async (key) => {
				const found = copies.get(key)?.value;
				if (!found) return undefined;
				const notes = await blobPath(found.notes.digest, found.notes.size);
				return notes !== undefined && await blobPath(found.layer.digest, found.layer.size) !== undefined ? { key, layer: found.layer, notes } : undefined;
			},
			forget: (key) => copies.delete(key),
			temporaryPath,
			keep: adopt,
		};
		this.converted = {
			find: (chainId) => this.#present(convertedLayers, chainId),
			remember: (chainId, layer) => convertedLayers.put(chainId, layer, { refs: [blobRef(layer.digest)] }),
		};
		const remember = (key: string, changeset: StoredChangeset): Promise<void> => changesets.put(hash(key), changeset, { refs: [blobRef(changeset.digest)] });
		this.exports = {
			blobPath,
			temporaryPath,
			find: (key) => this.#present(changesets, hash(key)),
			keep: async (key, file, changeset) => {
				await adopt(file, changeset.digest, changeset.size);
				await remember(key, changeset);
			},
			remember,
			keepImage: (name, image) => this.#keepImage(images, name, image),
		};
		this.blobs = { blobPath, import: async (digest, size, content) => { await this.#write(content, { digest, size }); } };
		this.downloads = {
			blobPath,
			find: async (key) => {
				const found = [...downloads.entries(`${key}/`)].map(([, { value }]) => value);
				const present = await Promise.all(found.map(({ digest, size }) => blobPath(digest, size)));
				return found.filter((_, i) => present[i] !== undefined);
			},
			keep: async (key, content, headers) => {
				const download = { ...(await this.#write(content, {})), ...headers };
				if (headers.etag !== undefined) await downloads.put(`${key}/${hash(headers.etag)}`, download, { refs: [blobRef(download.digest)] });
				return download;
			},
		};
		this.documents = {
			get: async ({ digest }) => {
				await lease.protect([blobRef(digest)]);
				return store.blobs.read(digest);
			},
			put: async ({ digest }, bytes) => {
				await store.blobs.put(bytes, lease, digest);
			},
		};
	}

	/** Protected first, then looked for: what is there stays until the build ends. A blob cut short counts as missing. */
	async #blobPath(digest: string, size: number): Promise<string | undefined> {
		await this.lease.protect([blobRef(digest)]);
		return (await this.store.blobs.has(digest, size)) ? this.store.blobs.path(digest) : undefined;
	}

	/** Stores a stream as a blob, the expected one where that is given. */
	async #write(content: AsyncIterable<Uint8Array>, expected: { readonly digest?: string; readonly size?: number }): Promise<{ readonly digest: string; readonly size: number }> {
		const writer = await this.store.blobs.create(this.lease, expected);
		try {
			for await (const chunk of content) await writer.write(chunk);
			return await writer.commit();
		} finally {
			await writer.abort();
		}
	}

	async #present<T extends { readonly digest: string; readonly size: number }>(records: Records<T>, key: string): Promise<T | undefined> {
		const entry = records.get(key);
		return entry && (await this.#blobPath(entry.value.digest, entry.value.size)) !== undefined ? entry.value : undefined;
	}

	async #keepImage(images: Records<StoredImage>, name: string, image: CommittedImage): Promise<void> {
		const contents = [...image.manifests, ...image.blobs];
		for (const { descriptor, origin } of contents) {
			if (origin.kind === 'bytes') await this.store.blobs.put(origin.bytes, this.lease, descriptor.digest);
		}
		const refs = contents.filter(({ origin }) => origin.kind !== 'remote').map(({ descriptor }) => blobRef(descriptor.digest));
		await images.put(name, { root: image.root }, { refs });
	}
}

/** Keys of chains are as long as the chain; the database's are not. */
function hash(key: string): string {
	return createHash('sha256').update(key).digest('hex');
}
