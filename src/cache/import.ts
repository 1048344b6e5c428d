// Reads a cache that somebody exported: to a registry, to a client's store, or into an image's config. Nothing
// in it is trusted: a document must have its digest, a layer its size, and what does not fit is no hit.
import {
	configPlatform, detectMediaType, isIndexType, isManifestType, isOverlaybdLayer, maxManifestSize, parseImageConfig, parseIndex, parseManifest,
	parseReference, Verifier, type Descriptor,
} from '../image/index.js';
import type { RemoteSource } from '../device/types.js';
import type { RegistryClient, Repository } from '../registry/index.js';
import type { BuildSession, ContentStore } from '../session/index.js';
import type { SealedLayer } from '../snapshot/index.js';
import { CacheConfig, configMediaType, maxConfigBytes, type CacheOutput, type LayerEntry } from './config.js';
import type { CacheImport } from './options.js';

/** A record of a foreign cache, ready to be used. */
export interface ImportedRecord {
	readonly key: string;
	readonly outputs: readonly CacheOutput[];
}

export interface CacheImportContext {
	readonly registry: RegistryClient;
	readonly isInsecure: (domain: string) => boolean;
	/** Where layers go that are in no registry. */
	readonly blobs: {
		blobPath(digest: string, size: number): Promise<string | undefined>;
		import(digest: string, size: number, content: AsyncIterable<Uint8Array>): Promise<void>;
	};
	readonly session: BuildSession;
	readonly signal: AbortSignal;
}

/** What an import is called in progress. */
export function cacheImportName(source: CacheImport): string {
	return `importing cache manifest from ${source.type === 'registry' ? source.reference : `local:${source.digest}`}`;
}

/** A place with documents and layers. */
interface Place {
	root(): Promise<Descriptor>;
	/** The whole of a small blob, verified. */
	read(descriptor: Descriptor, limit: number): Promise<Uint8Array>;
	/** The layer as it can be used; undefined when it is not there. */
	layer(descriptor: Descriptor): Promise<SealedLayer | undefined>;
}

export class ImportedCache {
	readonly #layers = new Map<string, Promise<SealedLayer | undefined>>();

	private constructor(private readonly place: Place, private readonly configs: readonly CacheConfig[], private readonly descriptors: ReadonlyMap<string, Descriptor>) {}

	/** Reads the manifest and the configs it leads to. Throws when there is none, or what is there is no cache. */
	static async open(source: CacheImport, context: CacheImportContext): Promise<ImportedCache> {
		const place = source.type === 'registry' ? registryPlace(source, context) : await storePlace(source, context);
		const found = new Found(place);
		await found.read(await place.root(), 0);
		return new ImportedCache(place, found.configs, found.layers);
	}

	/** The record under a key, if every layer of it is there. */
	async find(key: string): Promise<ImportedRecord | undefined> {
		for (const config of this.configs) {
			const record = config.find(key);
			const outputs = record && await Promise.all(record.outputs.map((output) => this.#output(output)));
			if (record && outputs?.every((output) => output !== undefined)) return { key: record.key, outputs };
		}
		return undefined;
	}

	async #output({ layers: entries, laid }: CacheOutput<LayerEntry>): Promise<CacheOutput | undefined> {
		const layers = await this.#chain(entries);
		if (!layers || !laid) return layers && { layers };
		const changes: { readonly lower: readonly SealedLayer[]; readonly upper: readonly SealedLayer[] }[] = [];
		for (const change of laid.changes) {
			const [lower, upper] = [await this.#chain(change.lower), await this.#chain(change.upper)];
			if (!lower || !upper) return undefined;
			changes.push({ lower, upper });
		}
		return { layers, laid: { ...laid, changes } };
	}

	async #chain(chain: readonly LayerEntry[]): Promise<readonly SealedLayer[] | undefined> {
		const layers: SealedLayer[] = [];
		for (const { digest, createdAt } of chain) {
			const layer = await this.#layer(digest);
			if (!layer) return undefined;
			layers.push({ ...layer, ...(createdAt !== undefined && { createdAt }) });
		}
		return layers;
	}

	#layer(digest: string): Promise<SealedLayer | undefined> {
		let layer = this.#layers.get(digest);
		if (!layer) {
			const descriptor = this.descriptors.get(digest);
			layer = descriptor && isOverlaybdLayer(descriptor) ? this.place.layer(descriptor) : Promise.resolve(undefined);
			this.#layers.set(digest, layer);
		}
		return layer;
	}
}

/** No cache is nested deeper: an index of images. */
const maxDepth = 2;

/** Configs and layers that a manifest or an index leads to. */
class Found {
	readonly configs: CacheConfig[] = [];
	readonly layers = new Map<string, Descriptor>();

	constructor(private readonly place: Place) {}

	async read(descriptor: Descriptor, depth: number): Promise<void> {
		const bytes = await this.place.read(descriptor, maxManifestSize);
		const mediaType = descriptor.mediaType === '' ? detectMediaType(bytes) ?? '' : descriptor.mediaType;
		if (isIndexType(mediaType)) await this.#readIndex(bytes, depth);
		else if (isManifestType(mediaType)) await this.#readManifest(bytes);
		else throw new Error(`unsupported media type ${JSON.stringify(mediaType)}: not a cache`);
		if (depth === 0 && this.configs.length === 0) throw new Error(`no cache in ${descriptor.digest}`);
	}

	/** Either a list of layers with the config among them, or images. */
	async #readIndex(bytes: Uint8Array, depth: number): Promise<void> {
		const { manifests } = parseIndex(bytes, 'cache manifest');
		const config = manifests.find(({ mediaType }) => mediaType === configMediaType);
		if (config) {
			this.#add(manifests);
			this.configs.push(new CacheConfig(await this.place.read(config, maxConfigBytes)));
			return;
		}
		if (depth === maxDepth) return;
		for (const one of manifests) if (isManifestType(one.mediaType) && one.platform?.os !== 'unknown') await this.read(one, depth + 1);
	}

	async #readManifest(bytes: Uint8Array): Promise<void> {
		const { config, layers } = parseManifest(bytes, 'cache manifest');
		const content = await this.place.read(config, maxConfigBytes);
		if (config.mediaType === configMediaType) {
			this.#add(layers);
			this.configs.push(new CacheConfig(content));
			return;
		}
		const image = parseImageConfig(content, 'image config');
		const inline = image['moby.buildkit.cache.v0'];
		if (typeof inline !== 'string' || configPlatform(image).os === 'unknown') return;
		this.#add(layers);
		this.configs.push(new CacheConfig(Buffer.from(inline, 'base64')));
	}

	#add(layers: readonly Descriptor[]): void {
		for (const layer of layers) this.layers.set(layer.digest, layer);
	}
}

function registryPlace({ reference, insecure }: Extract<CacheImport, { type: 'registry' }>, { registry, isInsecure, signal }: CacheImportContext): Place {
	const parsed = parseReference(reference);
	const source: RemoteSource = { repository: `${parsed.domain}/${parsed.path}`, insecure: insecure || isInsecure(parsed.domain) };
	const repository: Repository = registry.repository(parsed, { insecure: source.insecure });
	return {
		root: () => repository.head(parsed.digest ?? parsed.tag ?? 'latest', reference, signal),
		read: (descriptor, limit) => {
			if (descriptor.size > limit) throw new Error(`${descriptor.digest}: ${descriptor.size} bytes is too big for a document of a cache`);
			const isManifest = isManifestType(descriptor.mediaType) || isIndexType(descriptor.mediaType);
			return isManifest ? repository.fetchManifest(descriptor, { signal }) : repository.fetchDocument(descriptor, { signal });
		},
		// What has been deleted is no hit; a device that waits for it would be an I/O error.
		layer: async (descriptor) => (await repository.hasBlob(descriptor, signal)) ? { digest: descriptor.digest, size: descriptor.size, source } : undefined,
	};
}

async function storePlace({ store: name, digest }: Extract<CacheImport, { type: 'local' }>, { session, blobs, signal }: CacheImportContext): Promise<Place> {
	const store = await session.contentStore(`local:${name}`);
	return {
		root: async () => {
			const size = await store.size(digest);
			if (size === undefined) throw new Error(`content ${digest}: not found`);
			return { mediaType: '', digest, size };
		},
		read: (descriptor, limit) => readVerified(store, descriptor, limit, signal),
		layer: async ({ digest: layer, size }) => {
			if ((await blobs.blobPath(layer, size)) === undefined) {
				if (await store.size(layer) !== size) return undefined;
				await blobs.import(layer, size, store.read(layer, { signal }));
			}
			return { digest: layer, size };
		},
	};
}

async function readVerified(store: ContentStore, { digest, size }: Descriptor, limit: number, signal: AbortSignal): Promise<Uint8Array> {
	if (size > limit) throw new Error(`${digest}: ${size} bytes is too big for a document of a cache`);
	const verifier = new Verifier(digest);
	const chunks: Uint8Array[] = [];
	for await (const chunk of store.read(digest, { signal })) {
		verifier.update(chunk);
		if (verifier.size > size) break;
		chunks.push(chunk);
	}
	if (verifier.size !== size || verifier.finish() !== digest) throw new Error(`content ${digest}: the client sent something else`);
	return Buffer.concat(chunks);
}
