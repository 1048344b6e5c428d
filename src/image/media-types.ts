// The media types of image documents and layers, OCI and Docker, and what each one means.

export const mediaTypes = {
	ociIndex: 'application/vnd.oci.image.index.v1+json',
	ociManifest: 'application/vnd.oci.image.manifest.v1+json',
	ociConfig: 'application/vnd.oci.image.config.v1+json',
	ociEmpty: 'application/vnd.oci.empty.v1+json',
	ociLayer: 'application/vnd.oci.image.layer.v1.tar',
	ociLayerGzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
	ociLayerZstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
	ociForeignLayer: 'application/vnd.oci.image.layer.nondistributable.v1.tar',
	ociForeignLayerGzip: 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip',
	ociForeignLayerZstd: 'application/vnd.oci.image.layer.nondistributable.v1.tar+zstd',
	dockerIndex: 'application/vnd.docker.distribution.manifest.list.v2+json',
	dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
	dockerManifestV1: 'application/vnd.docker.distribution.manifest.v1+prettyjws',
	dockerConfig: 'application/vnd.docker.container.image.v1+json',
	dockerLayer: 'application/vnd.docker.image.rootfs.diff.tar',
	dockerLayerGzip: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
	dockerLayerZstd: 'application/vnd.docker.image.rootfs.diff.tar.zstd',
	dockerForeignLayer: 'application/vnd.docker.image.rootfs.foreign.diff.tar',
	dockerForeignLayerGzip: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip',
} as const;

const m = mediaTypes;

/** OCI and Docker names of the same layer form; where Docker has no name, the OCI one stands. */
const layerPairs: readonly (readonly [oci: string, docker: string])[] = [
	[m.ociLayer, m.dockerLayer],
	[m.ociLayerGzip, m.dockerLayerGzip],
	[m.ociLayerZstd, m.dockerLayerZstd],
	[m.ociForeignLayer, m.dockerForeignLayer],
	[m.ociForeignLayerGzip, m.dockerForeignLayerGzip],
];

export type LayerCompression = 'uncompressed' | 'gzip' | 'zstd';

export function isManifestType(mediaType: string): boolean {
	return mediaType === m.ociManifest || mediaType === m.dockerManifest;
}

export function isIndexType(mediaType: string): boolean {
	return mediaType === m.ociIndex || mediaType === m.dockerIndex;
}

export function isConfigType(mediaType: string): boolean {
	return mediaType === m.ociConfig || mediaType === m.dockerConfig;
}

export function isLayerType(mediaType: string): boolean {
	return layerCompression(mediaType) !== undefined;
}

/** Layers that must not be pushed to another registry ("foreign"). */
export function isNonDistributable(mediaType: string): boolean {
	return mediaType.startsWith('application/vnd.oci.image.layer.nondistributable.')
		|| mediaType.startsWith('application/vnd.docker.image.rootfs.foreign.');
}

/**
 * How a layer's tar is stored, going by its media type; undefined for what is no known layer type.
 * Docker's uncompressed type may lie: whoever reads the blob looks at its first bytes too.
 */
export function layerCompression(mediaType: string): LayerCompression | undefined {
	switch (mediaType) {
		case m.ociLayer: case m.dockerLayer: case m.ociForeignLayer: case m.dockerForeignLayer:
			return 'uncompressed';
		case m.ociLayerGzip: case m.dockerLayerGzip: case m.ociForeignLayerGzip: case m.dockerForeignLayerGzip:
			return 'gzip';
		case m.ociLayerZstd: case m.dockerLayerZstd: case m.ociForeignLayerZstd:
			return 'zstd';
		default:
			return undefined;
	}
}

/** The OCI (or Docker) name of a layer's media type; an unknown type stays as it is. */
export function convertLayerType(mediaType: string, oci: boolean): string {
	const pair = layerPairs.find(([ociName, dockerName]) => ociName === mediaType || dockerName === mediaType);
	return pair === undefined ? mediaType : pair[oci ? 0 : 1];
}

/** The media type of a layer we write. */
export function layerType(compression: LayerCompression, oci: boolean): string {
	const types = { uncompressed: m.ociLayer, gzip: m.ociLayerGzip, zstd: m.ociLayerZstd };
	return convertLayerType(types[compression], oci);
}
