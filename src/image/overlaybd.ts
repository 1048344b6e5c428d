// overlaybd in manifests: the layer annotations of FORMATS.md 8.1 and what they say about a layer.
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

/** The ordinary layer a turboOCI layer's metadata points into; undefined for any other layer. */
export function turboTarget(descriptor: Descriptor): { readonly digest: string; readonly mediaType: string } | undefined {
	const annotations = descriptor.annotations ?? {};
	const digest = annotations[overlaybdKeys.turboTargetDigest] ?? annotations[overlaybdKeys.legacyTargetDigest];
	const mediaType = annotations[overlaybdKeys.turboTargetMediaType] ?? annotations[overlaybdKeys.legacyTargetMediaType];
	return digest === undefined || mediaType === undefined ? undefined : { digest, mediaType };
}
