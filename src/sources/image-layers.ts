// A resolved image's layers as what obd can do with them.
import { isAccelerationLayer, isOverlaybdLayer, layerCompression, turboTarget, type Descriptor } from '../image/index.js';
import type { RemoteSource } from '../device/types.js';
import type { ResolvedImage } from '../registry/index.js';
import type { LayerOrigin, SealedLayer } from '../snapshot/index.js';

export type ImageLayers =
	/** Block layers, read lazily where they are. */
	| { readonly kind: 'overlaybd'; readonly layers: readonly SealedLayer[] }
	/** Tars, to be converted. */
	| { readonly kind: 'ordinary'; readonly layers: readonly LayerOrigin[] };

/** Bottom first; `limit`: only so many. `source`: the registry they are in, if they are in one. */
export function imageLayers({ manifest, config, reference }: ResolvedImage, source: RemoteSource | undefined, limit?: number): ImageLayers {
	// A prefetch trace holds no blocks; its diffID is in the config all the same.
	const all = manifest.layers
		.map((descriptor, i) => ({ descriptor, diffId: config.rootfs.diff_ids[i] ?? '' }))
		.filter(({ descriptor }) => !isAccelerationLayer(descriptor));
	if (limit !== undefined && limit > all.length) throw new Error(`layer limit ${limit} is greater than the number of layers in the image ${all.length}`);
	const pairs = all.slice(0, limit);
	const block = pairs.filter(({ descriptor }) => isOverlaybdLayer(descriptor));
	if (block.length === pairs.length && pairs.length > 0) {
		return { kind: 'overlaybd', layers: pairs.map(({ descriptor }) => blockLayer(descriptor, source, reference)) };
	}
	if (block.length > 0) throw new Error(`${reference}: ${block.length} of ${pairs.length} layers are overlaybd layers: such a mixture cannot be used as a base`);
	return { kind: 'ordinary', layers: pairs.map(({ descriptor, diffId }) => ordinaryLayer(descriptor, diffId, source, reference)) };
}

function blockLayer(descriptor: Descriptor, source: RemoteSource | undefined, reference: string): SealedLayer {
	if (turboTarget(descriptor)) throw new Error(`${reference}: layer ${descriptor.digest} is a turboOCI layer, which obd cannot read yet`);
	return { digest: descriptor.digest, size: descriptor.size, ...(source && { source }) };
}

function ordinaryLayer(descriptor: Descriptor, diffId: string, source: RemoteSource | undefined, reference: string): LayerOrigin {
	const { mediaType, digest, size } = descriptor;
	if (layerCompression(mediaType) === undefined) throw new Error(`${reference}: layer ${digest} has media type ${mediaType}, which obd cannot unpack`);
	if (diffId === '') throw new Error(`${reference}: the image config has no diffID for layer ${digest}`);
	return { mediaType, digest, size, diffId, ...(source && { source }) };
}
