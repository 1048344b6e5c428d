// docker-image:// sources: overlaybd images are attached where they are, others are converted on the way in.
import type { Platform } from '../image/index.js';
import { convertLayers } from '../convert/index.js';
import type { RegistryClient } from '../registry/index.js';
import type { LayerOrigin, SealedLayer, SnapshotManager } from '../snapshot/index.js';
import type { ImageResolver } from './image-resolver.js';
import type { Source, SourceContent, SourceContext } from './source.js';

/** What earlier conversions made; the store implements it. */
export interface ConvertedLayers {
	find(chainId: string): Promise<SealedLayer | undefined>;
	remember(chainId: string, layer: SealedLayer): Promise<void>;
}

export interface ImageSourceOptions {
	readonly resolver: ImageResolver;
	readonly registry: RegistryClient;
	readonly snapshots: SnapshotManager;
	readonly converted: ConvertedLayers;
}

export class ImageSource implements Source {
	constructor(private readonly reference: string, private readonly platform: Platform, private readonly options: ImageSourceOptions) {}

	async identity({ session, signal }: SourceContext): Promise<string> {
		const { resolved } = await this.options.resolver.resolve(this.reference, this.platform, session, signal);
		return `image ${resolved.descriptor.digest}`;
	}

	async fetch(context: SourceContext): Promise<SourceContent> {
		const { resolver, snapshots } = this.options;
		const { resolved, layers } = await resolver.resolve(this.reference, this.platform, context.session, context.signal);
		const status = context.reporter.status(`resolve ${resolved.reference}`);
		status.done();
		const snapshot = layers.kind === 'overlaybd' ? snapshots.snapshot(layers.layers) : await this.#convert(layers.layers, context);
		return { kind: 'snapshot', snapshot };
	}

	#convert(layers: readonly LayerOrigin[], { reporter, signal }: SourceContext): ReturnType<typeof convertLayers> {
		const { registry, snapshots, converted } = this.options;
		return convertLayers({
			layers,
			snapshots,
			signal,
			open: ({ mediaType, digest, size, source }, abort) => {
				const repository = registry.repository(source.repository, { insecure: source.insecure });
				return Promise.resolve(repository.openBlob({ mediaType, digest, size }, { signal: abort }));
			},
			known: (chainId) => converted.find(chainId),
			remember: (chainId, layer) => converted.remember(chainId, layer),
			progress: ({ digest, size }) => reporter.status(`converting ${digest}`, size),
		});
	}
}
