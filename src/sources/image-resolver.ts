// What image references mean, asked once a build: a tag that moves in between would make two stages differ.
import type { Platform } from '../image/index.js';
import type { ContentCache, RegistryClient, ResolvedImage } from '../registry/index.js';
import type { BuildSession } from '../session/index.js';
import type { RemoteSource } from '../device/types.js';
import { PerBuild } from './source.js';

/** An image for one platform, and where its layers are. */
export interface ImageSourceInfo {
	readonly resolved: ResolvedImage;
	readonly source: RemoteSource;
}

export interface ResolverOptions {
	readonly registry: RegistryClient;
	readonly cache: ContentCache;
	/** Registries that may be spoken to over plain http or without a valid certificate. */
	readonly isInsecure: (domain: string) => boolean;
	/** Is told what a registry has shown to somebody: these blobs may be read in his name. */
	readonly onShown?: (session: BuildSession, source: RemoteSource, digests: readonly string[]) => void;
}

export class ImageResolver {
	readonly #asked = new PerBuild<ImageSourceInfo>();

	constructor(private readonly options: ResolverOptions) {}

	/** Resolves for one build: the same reference and platform always give it the same answer. */
	resolve(reference: string, platform: Platform, session: BuildSession, signal: AbortSignal): Promise<ImageSourceInfo> {
		const key = JSON.stringify([reference, platform.os, platform.architecture, platform.variant, platform.osVersion]);
		return this.#asked.get(session, key, () => this.#resolve(reference, platform, session, signal));
	}

	async #resolve(reference: string, platform: Platform, session: BuildSession, signal: AbortSignal): Promise<ImageSourceInfo> {
		const { registry, cache } = this.options;
		const insecure = this.options.isInsecure(reference.split('/', 1)[0] ?? '');
		const resolved = await registry.as(session.credentials).resolve(reference, { platform, cache, insecure, signal });
		const repository = resolved.reference.replace(/(?::[^/@]+)?(?:@.*)?$/, '');
		const source = { repository, insecure };
		this.options.onShown?.(session, source, resolved.manifest.layers.map(({ digest }) => digest));
		return { resolved, source };
	}
}
