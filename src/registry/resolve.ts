// From a reference to an image: what the tag names, the manifest for the wanted platform, its config.
import {
	configPlatform, defaultPlatform, encodeImageConfig, formatPlatform, formatReference, isIndexType, isManifestType, matchesPlatform, mediaTypes,
	parseImageConfig, parseIndex, parseManifest, sortByPlatform, withDigest, withoutAcceleration,
	type Descriptor, type ImageConfig, type ImageReference, type Index, type Manifest, type Platform,
} from '../image/index.js';
import { RegistryError } from './errors.js';

/** Documents by digest that need not be fetched again (the store). */
export interface ContentCache {
	get(descriptor: Descriptor): Promise<Uint8Array | undefined>;
	put(descriptor: Descriptor, bytes: Uint8Array): Promise<void>;
}

export interface ResolveOptions {
	/** Default: this machine's. */
	readonly platform?: Platform;
	readonly cache?: ContentCache;
	/** What the reference names, when the caller knows: then the registry is not asked. */
	readonly known?: Descriptor;
	readonly signal?: AbortSignal;
}

/** Where the documents of an image are: a repository, or a client's layout. What it gives has the size and digest asked for. */
export interface ImageDocuments {
	readonly domain: string;
	fetchManifest(descriptor: Descriptor, options: { readonly signal?: AbortSignal }): Promise<Uint8Array>;
	fetchDocument(descriptor: Descriptor, options: { readonly signal?: AbortSignal }): Promise<Uint8Array>;
}

export interface ResolvedImage {
	/** Normalized, with the digest of `target`. */
	readonly reference: string;
	/** What the reference names: an index or a manifest. */
	readonly target: Descriptor;
	/** The manifest for the platform. */
	readonly descriptor: Descriptor;
	readonly manifest: Manifest;
	readonly manifestBytes: Uint8Array;
	/** Says nothing of layers that only carry prefetch traces, which the manifest still lists. */
	readonly config: ImageConfig;
	readonly configBytes: Uint8Array;
}

/** An index may hold indexes; one that goes deeper is not honest. */
const maxIndexDepth = 4;

/** The image for a platform among what `options.known`, the root of `ref`, leads to. */
export async function resolveImage(repository: ImageDocuments, ref: ImageReference, options: ResolveOptions & { readonly known: Descriptor }): Promise<ResolvedImage> {
	const label = formatReference(ref);
	const target = options.known;
	const wanted = options.platform ?? defaultPlatform();
	const images = new ImageReader(repository, label, options);
	const found = await images.find(target, wanted, 0);
	if (found === undefined) {
		throw new RegistryError(`no match for platform in manifest: not found: ${label} has no image for ${formatPlatform(wanted)}`, {
			kind: 'not-found', registry: repository.domain, method: 'GET', path: '',
		});
	}
	return { ...found, ...configWithoutTraces(found), reference: formatReference(withDigest(ref, target.digest)), target };
}

function configWithoutTraces({ config, configBytes, manifest }: Found): Pick<ResolvedImage, 'config' | 'configBytes'> {
	const without = withoutAcceleration(config, manifest.layers);
	return without === config ? { config, configBytes } : { config: without, configBytes: encodeImageConfig(without) };
}

type Found = Omit<ResolvedImage, 'reference' | 'target'>;

class ImageReader {
	constructor(private readonly repository: ImageDocuments, private readonly label: string, private readonly options: ResolveOptions) {}

	/** The image for the platform that a descriptor leads to. One that is no index is taken whatever its platform. */
	async find(descriptor: Descriptor, wanted: Platform, depth: number): Promise<Found | undefined> {
		if (descriptor.mediaType === mediaTypes.dockerManifestV1) {
			throw this.#unusable('support Docker Image manifest version 2, schema 1 has been removed. More information at https://docs.docker.com/go/deprecated-image-specs/');
		}
		if (isManifestType(descriptor.mediaType)) return this.#readImage(descriptor);
		if (!isIndexType(descriptor.mediaType) || depth === maxIndexDepth) {
			throw this.#unusable(`unexpected media type ${descriptor.mediaType} for ${descriptor.digest}`);
		}
		const bytes = await this.#fetch(descriptor, (d) => this.repository.fetchManifest(d, this.options));
		return this.#findIn(parseIndex(bytes, `index ${descriptor.digest} of ${this.label}`), wanted, depth);
	}

	async #findIn(index: Index, wanted: Platform, depth: number): Promise<Found | undefined> {
		const declared = index.manifests.filter((entry) => entry.platform !== undefined);
		for (const entry of sortByPlatform(wanted, declared, (d) => d.platform as Platform)) {
			const found = await this.find(entry, wanted, depth + 1);
			if (found !== undefined) return found;
		}
		// Entries that do not say their platform: their config does.
		for (const entry of index.manifests.filter((d) => d.platform === undefined && (isManifestType(d.mediaType) || isIndexType(d.mediaType)))) {
			const found = await this.find(entry, wanted, depth + 1);
			if (found !== undefined && matchesPlatform(wanted, configPlatform(found.config))) return found;
		}
		return undefined;
	}

	async #readImage(descriptor: Descriptor): Promise<Found> {
		const manifestBytes = await this.#fetch(descriptor, (d) => this.repository.fetchManifest(d, this.options));
		const manifest = parseManifest(manifestBytes, `manifest ${descriptor.digest} of ${this.label}`);
		const configBytes = await this.#fetch(manifest.config, (d) => this.repository.fetchDocument(d, this.options));
		const config = parseImageConfig(configBytes, `config ${manifest.config.digest} of ${this.label}`);
		return { descriptor, manifest, manifestBytes, config, configBytes };
	}

	async #fetch(descriptor: Descriptor, fetch: (descriptor: Descriptor) => Promise<Uint8Array>): Promise<Uint8Array> {
		const cached = await this.options.cache?.get(descriptor);
		if (cached !== undefined) return cached;
		const bytes = await fetch(descriptor);
		await this.options.cache?.put(descriptor, bytes);
		return bytes;
	}

	#unusable(problem: string): RegistryError {
		return new RegistryError(`${this.label}: ${problem}`, { kind: 'protocol', registry: this.repository.domain, method: 'GET', path: '' });
	}
}
