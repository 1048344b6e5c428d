// docker-image:// sources: overlaybd layers are attached where they are, others are converted on the way in.
import type { Readable } from 'node:stream';
import { validateDigest, type Platform } from '../image/index.js';
import { attr, type SourceOp } from '../llb/index.js';
import { convertLayers } from '../convert/index.js';
import type { RegistryClient } from '../registry/index.js';
import type { LayerOrigin, SealedLayer, Snapshot, SnapshotManager } from '../snapshot/index.js';
import { readAccelerationLayer } from './acceleration.js';
import { layerLimit } from './attributes.js';
import { imageLayers, type ImageLayers } from './image-layers.js';
import type { ImageResolver, ImageSourceInfo } from './image-resolver.js';
import type { Source, SourceContent, SourceContext, SourceIdentity } from './source.js';

/** What earlier conversions made; the store implements it. */
export interface ConvertedLayers {
	find(chainId: string): Promise<SealedLayer | undefined>;
	remember(chainId: string, layer: SealedLayer): Promise<void>;
}

export interface ConversionOptions {
	readonly snapshots: SnapshotManager;
	readonly converted: ConvertedLayers;
}

export interface ImageSourceOptions extends ConversionOptions {
	readonly resolver: ImageResolver;
	readonly registry: RegistryClient;
}

const resolveModes: readonly string[] = ['default', 'pull', 'local', ''];
const recordTypes: readonly string[] = ['', 'regular', 'internal', 'frontend'];

export class ImageSource implements Source {
	readonly #reference: string;
	readonly #limit: number | undefined;
	readonly #checksum: string | undefined;

	/** There is no store of images to prefer or to avoid: every resolve mode asks the registry. */
	constructor(op: SourceOp, private readonly platform: Platform, private readonly options: ImageSourceOptions) {
		this.#reference = op.identifier.slice('docker-image://'.length);
		const mode = op.attrs.get(attr.imageResolveMode) ?? '';
		if (!resolveModes.includes(mode)) throw new Error(`invalid resolvemode: ${mode}`);
		const recordType = op.attrs.get(attr.imageRecordType) ?? '';
		if (!recordTypes.includes(recordType)) throw new Error(`invalid record type ${recordType}`);
		this.#limit = layerLimit(op, attr.imageLayerLimit);
		this.#checksum = op.attrs.get(attr.imageChecksum);
		try {
			if (this.#checksum !== undefined) validateDigest(this.#checksum);
		} catch (error) {
			throw new Error(`invalid image checksum ${this.#checksum}: ${(error as Error).message}`, { cause: error });
		}
	}

	async identity(context: SourceContext): Promise<SourceIdentity> {
		const { resolved } = await this.#resolve(context);
		const limit = this.#limit === undefined ? '' : ` limit ${this.#limit}`;
		return {
			key: `image ${resolved.descriptor.digest}${limit}`,
			material: { kind: 'image', reference: this.#reference, digest: resolved.target.digest, platform: this.platform, local: false },
		};
	}

	async fetch(context: SourceContext): Promise<SourceContent> {
		const { resolved, source } = await this.#resolve(context);
		context.reporter.status(`resolve ${resolved.reference}`).done();
		const repository = this.options.registry.as(context.session.credentials).repository(source.repository, { insecure: source.insecure });
		const layers = await imageLayers(resolved, {
			source,
			...(this.#limit !== undefined && { limit: this.#limit }),
			sizeOf: (digest) => repository.blobSize(digest, context.signal),
		});
		const open = ({ mediaType, digest, size }: LayerOrigin, signal: AbortSignal): Readable => repository.openBlob({ mediaType, digest, size }, { signal });
		const [snapshot, trace] = await Promise.all([
			convert(layers, open, this.options, context),
			readAccelerationLayer(resolved.manifest, (layer) => repository.fetchDocument(layer, { signal: context.signal })),
		]);
		return { kind: 'snapshot', snapshot: trace ? { ...snapshot, trace } : snapshot };
	}

	async #resolve({ session, signal }: SourceContext): Promise<ImageSourceInfo> {
		const info = await this.options.resolver.resolve(this.#reference, this.platform, session, signal);
		const { digest } = info.resolved.target;
		if (this.#checksum !== undefined && digest !== this.#checksum) {
			throw new Error(`image digest ${digest} for ${this.#reference} does not match expected checksum ${this.#checksum}`);
		}
		return info;
	}
}

/** Layers as a snapshot, ordinary ones converted; `open` gives the verified bytes of one. */
export function convert({ block, blockDiffIds, ordinary }: ImageLayers, open: (layer: LayerOrigin, signal: AbortSignal) => Readable, options: ConversionOptions, { reporter, signal }: SourceContext): Promise<Snapshot> {
	const { snapshots, converted } = options;
	return convertLayers({
		base: { layers: block, diffIds: blockDiffIds },
		layers: ordinary,
		snapshots,
		signal,
		open: (layer, abort) => Promise.resolve(open(layer, abort)),
		known: (chainId) => converted.find(chainId),
		remember: (chainId, layer) => converted.remember(chainId, layer),
		progress: ({ digest, size }) => reporter.status(`converting ${digest}`, size),
	});
}
