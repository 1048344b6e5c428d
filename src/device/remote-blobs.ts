import type { LowerLayer, RemoteBlob } from './types.js';

/** The blobs that are read from registries for these layers. */
export function remoteBlobs(lowers: readonly LowerLayer[]): RemoteBlob[] {
	return lowers.flatMap((lower) => {
		if (lower.kind === 'frozen') return [];
		return [lower, ...(lower.target ? [lower.target] : [])].filter((blob) => 'source' in blob);
	});
}
