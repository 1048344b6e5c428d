// A resolved image's layers as what obd can do with them.
import { isAccelerationLayer, isOverlaybdLayer, layerCompression, layerFsType, ownAnnotations, turboTarget, type Descriptor } from '../image/index.js';
import type { RemoteSource } from '../device/types.js';
import type { ResolvedImage } from '../registry/index.js';
import type { LayerOrigin, SealedLayer } from '../snapshot/index.js';

/** The layers of an image, bottom first: block layers, and ordinary ones on top of them. Either may be missing. */
export interface ImageLayers {
	/** Read lazily where they are. */
	readonly block: readonly SealedLayer[];
	/** Their diffIDs. */
	readonly blockDiffIds: readonly string[];
	/** Tars, to be converted. */
	readonly ordinary: readonly LayerOrigin[];
}

export interface ImageLayersOptions {
	/** The registry they are in, if they are in one. */
	readonly source?: RemoteSource;
	/** Only so many. */
	readonly limit?: number;
	/** Bytes of a blob beside the image's own. */
	readonly sizeOf: (digest: string) => Promise<number>;
}

interface ImageLayer {
	readonly descriptor: Descriptor;
	readonly diffId: string;
}

export async function imageLayers({ manifest, config, reference }: ResolvedImage, options: ImageLayersOptions): Promise<ImageLayers> {
	const { limit } = options;
	// A prefetch trace holds no blocks; the config of a resolved image does not speak of it.
	const all = manifest.layers.filter((descriptor) => !isAccelerationLayer(descriptor)).map((descriptor, i): ImageLayer => ({ descriptor, diffId: config.rootfs.diff_ids[i] ?? '' }));
	if (limit !== undefined && limit > all.length) throw new Error(`layer limit ${limit} is greater than the number of layers in the image ${all.length}`);
	const layers = all.slice(0, limit);
	const count = layers.findLastIndex(({ descriptor }) => isOverlaybdLayer(descriptor)) + 1;
	const block = layers.slice(0, count);
	const misplaced = block.find(({ descriptor }) => !isOverlaybdLayer(descriptor));
	if (misplaced) {
		throw new Error(`${reference}: ordinary layer ${misplaced.descriptor.digest} lies below an overlaybd layer, which was made for other blocks below it: such an image cannot be a base`);
	}
	return {
		block: await Promise.all(block.map((layer) => blockLayer(layer, options, reference))),
		blockDiffIds: block.map(({ diffId }) => diffId),
		ordinary: layers.slice(count).map((layer) => ordinaryLayer(layer, options.source, reference)),
	};
}

async function blockLayer({ descriptor, diffId }: ImageLayer, { source, sizeOf }: ImageLayersOptions, reference: string): Promise<SealedLayer> {
	const { digest, size, mediaType } = descriptor;
	const fsType = layerFsType(descriptor);
	if (fsType !== 'ext4') throw new Error(`${reference}: layer ${digest} has a file system of type ${fsType}; obd builds on ext4 only`);
	const layer = { digest, size, ...(source && { source }) };
	const target = turboTarget(descriptor);
	if (!target) return layer;
	const compression = layerCompression(target.mediaType);
	if (compression !== 'gzip' && compression !== 'uncompressed') {
		throw new Error(`${reference}: turboOCI layer ${digest} points into a layer of media type ${target.mediaType}; gzip and uncompressed tars can be read`);
	}
	return { ...layer, turbo: { diffId, mediaType, annotations: ownAnnotations(descriptor), target: { ...target, size: await sizeOf(target.digest) } } };
}

function ordinaryLayer({ descriptor, diffId }: ImageLayer, source: RemoteSource | undefined, reference: string): LayerOrigin {
	const { mediaType, digest, size } = descriptor;
	if (layerCompression(mediaType) === undefined) throw new Error(`${reference}: layer ${digest} has media type ${mediaType}, which obd cannot unpack`);
	if (diffId === '') throw new Error(`${reference}: the image config has no diffID for layer ${digest}`);
	return { mediaType, digest, size, diffId, ...(source && { source }) };
}
