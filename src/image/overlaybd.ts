// overlaybd in manifests: the layer annotations of FORMATS.md 8.1 and what they say about a layer.
import type { ImageConfig } from './config.js';
import type { Descriptor } from './descriptor.js';
import { isLayerType } from './media-types.js';

const prefix = 'containerd.io/snapshot/overlaybd/';

export const overlaybdKeys = {
	/** Digest of the blob itself. */
	blobDigest: `${prefix}blob-digest`,
	/** Bytes of the blob, decimal. */
	blobSize: `${prefix}blob-size`,
	version: `${prefix}version`,
	/** e.g. `ext4`; absent means ext4. */
	blobFsType: `${prefix}blob-fs-type`,
	/** `yes` on a layer that only carries a prefetch trace. */
	accelerationLayer: `${prefix}acceleration-layer`,
	/** TurboOCI: digest and media type of the ordinary layer the metadata belongs to. */
	turboTargetDigest: `${prefix}turbo-oci/target-digest`,
	turboTargetMediaType: `${prefix}turbo-oci/target-media-type`,
	legacyTargetDigest: `${prefix}fastoci/target-digest`,
	legacyTargetMediaType: `${prefix}fastoci/target-media-type`,
} as const;

/** What `ctr record-trace` says of its layer in the config's history. */
const accelerationHistory = 'Acceleration Layer';

/** Version of a native layer (not turboOCI). */
export const overlaybdVersion = '0.1.0';

/** The annotations of a native overlaybd layer descriptor. `size` in bytes. */
export function overlaybdAnnotations(digest: string, size: number): Readonly<Record<string, string>> {
	return {
		[overlaybdKeys.blobDigest]: digest,
		[overlaybdKeys.blobSize]: String(size),
		[overlaybdKeys.version]: overlaybdVersion,
	};
}

/** A layer that is a block device layer: native or turboOCI, not a prefetch trace. */
export function isOverlaybdLayer(descriptor: Descriptor): boolean {
	const { annotations } = descriptor;
	return annotations?.[overlaybdKeys.blobDigest] !== undefined
		&& annotations[overlaybdKeys.blobSize] !== undefined
		&& isLayerType(descriptor.mediaType)
		&& !isAccelerationLayer(descriptor);
}

/** A layer that only carries a prefetch trace: no part of the root file system. */
export function isAccelerationLayer(descriptor: Descriptor): boolean {
	return descriptor.annotations?.[overlaybdKeys.accelerationLayer] === 'yes';
}

/**
 * A config without what it says of layers that only carry prefetch traces: such a layer is not part of an image
 * that is built on this one. `layers` are the manifest's.
 */
export function withoutAcceleration(config: ImageConfig, layers: readonly Descriptor[]): ImageConfig {
	if (!layers.some(isAccelerationLayer)) return config;
	const { history } = config;
	return {
		...config,
		rootfs: { ...config.rootfs, diff_ids: config.rootfs.diff_ids.filter((_, i) => !(layers[i] && isAccelerationLayer(layers[i]))) },
		...(history && { history: history.filter(({ created_by }) => created_by !== accelerationHistory) }),
	};
}

/** The annotations of a descriptor that are overlaybd's. */
export function ownAnnotations({ annotations = {} }: Descriptor): Readonly<Record<string, string>> {
	return Object.fromEntries(Object.entries(annotations).filter(([key]) => key.startsWith(prefix)));
}

/** The file system in an overlaybd layer. */
export function layerFsType({ annotations }: Descriptor): string {
	// "type;mount options;mkfs options"
	return annotations?.[overlaybdKeys.blobFsType]?.split(';', 1)[0] || 'ext4';
}

/** The ordinary layer a turboOCI layer's metadata points into; undefined for any other layer. */
export function turboTarget(descriptor: Descriptor): { readonly digest: string; readonly mediaType: string } | undefined {
	const annotations = descriptor.annotations ?? {};
	const digest = annotations[overlaybdKeys.turboTargetDigest] ?? annotations[overlaybdKeys.legacyTargetDigest];
	const mediaType = annotations[overlaybdKeys.turboTargetMediaType] ?? annotations[overlaybdKeys.legacyTargetMediaType];
	return digest === undefined || mediaType === undefined ? undefined : { digest, mediaType };
}
