// What image references mean, asked once a build: a tag that moves in between would make two stages differ.
import { isAccelerationLayer, isOverlaybdLayer, layerCompression, turboTarget, type Descriptor, type Platform } from '../image/index.js';
import type { ContentCache, RegistryClient, ResolvedImage } from '../registry/index.js';
import type { BuildSession } from '../session/index.js';
import type { LayerOrigin, SealedLayer } from '../snapshot/index.js';
import type { RemoteSource } from '../device/types.js';

/** An image for one platform, its layers as what obd can do with them. */
export interface ImageSourceInfo {
	readonly resolved: ResolvedImage;
	readonly layers:
		/** Block layers, read lazily where they are. */
		| { readonly kind: 'overlaybd'; readonly layers: readonly SealedLayer[] }
		/** Tars, to be converted. */
		| { readonly kind: 'ordinary'; readonly layers: readonly LayerOrigin[] };
}

export interface ResolverOptions {
	readonly registry: RegistryClient;
	readonly cache: ContentCache;
	/** Registries that may be spoken to over plain http or without a valid certificate. */
	readonly isInsecure: (domain: string) => boolean;
}

export class ImageResolver {
	readonly #asked = new WeakMap<BuildSession, Map<string, Promise<ImageSourceInfo>>>();

	constructor(private readonly options: ResolverOptions) {}

	/** Resolves for one build: the same reference and platform always give it the same answer. */
	resolve(reference: string, platform: Platform, session: BuildSession, signal: AbortSignal): Promise<ImageSourceInfo> {
		let known = this.#asked.get(session);
		if (!known) this.#asked.set(session, known = new Map());
		const key = JSON.stringify([reference, platform.os, platform.architecture, platform.variant]);
		let info = known.get(key);
		if (!info) {
			info = this.#resolve(reference, platform, signal);
			known.set(key, info);
		}
		return info;
	}

	async #resolve(reference: string, platform: Platform, signal: AbortSignal): Promise<ImageSourceInfo> {
		const { registry, cache } = this.options;
		const insecure = this.options.isInsecure(reference.split('/', 1)[0] ?? '');
		const resolved = await registry.resolve(reference, { platform, cache, insecure, signal });
		const repository = resolved.reference.replace(/(?::[^/@]+)?(?:@.*)?$/, '');
		return { resolved, layers: layersOf(resolved, { repository, insecure }) };
	}
}

function layersOf({ manifest, config, reference }: ResolvedImage, source: RemoteSource): ImageSourceInfo['layers'] {
	// A prefetch trace holds no blocks; its diffID is in the config all the same.
	const pairs = manifest.layers
		.map((descriptor, i) => ({ descriptor, diffId: config.rootfs.diff_ids[i] ?? '' }))
		.filter(({ descriptor }) => !isAccelerationLayer(descriptor));
	const block = pairs.filter(({ descriptor }) => isOverlaybdLayer(descriptor));
	if (block.length === pairs.length && pairs.length > 0) {
		return { kind: 'overlaybd', layers: pairs.map(({ descriptor }) => blockLayer(descriptor, source, reference)) };
	}
	if (block.length > 0) throw new Error(`${reference}: ${block.length} of ${pairs.length} layers are overlaybd layers: such a mixture cannot be used as a base`);
	return { kind: 'ordinary', layers: pairs.map(({ descriptor, diffId }) => ordinaryLayer(descriptor, diffId, source, reference)) };
}

function blockLayer(descriptor: Descriptor, source: RemoteSource, reference: string): SealedLayer {
	if (turboTarget(descriptor)) throw new Error(`${reference}: layer ${descriptor.digest} is a turboOCI layer, which obd cannot read yet`);
	return { digest: descriptor.digest, size: descriptor.size, source };
}

function ordinaryLayer(descriptor: Descriptor, diffId: string, source: RemoteSource, reference: string): LayerOrigin {
	const { mediaType, digest, size } = descriptor;
	if (layerCompression(mediaType) === undefined) throw new Error(`${reference}: layer ${digest} has media type ${mediaType}, which obd cannot unpack`);
	if (diffId === '') throw new Error(`${reference}: the image config has no diffID for layer ${digest}`);
	return { mediaType, digest, size, diffId, source };
}
