// SOURCE_DATE_EPOCH: times in an image no later than the source's, so that the same source gives the same image.
import { clampTimes, type ImageConfig } from '../image/index.js';
import type { SealedLayer } from '../snapshot/index.js';
import type { PlatformResult } from './content.js';

/** The epoch that holds for a platform: the exporter's own, else the frontend's. Seconds. */
export function epochOf(given: number | null | undefined, { epoch }: Pick<PlatformResult, 'epoch'>): number | undefined {
	return given === undefined ? epoch : given ?? undefined;
}

/** The config with its times clamped; what it has from the base image stays. */
export function withEpoch(config: ImageConfig, epoch: number | undefined, base: ImageConfig | undefined): ImageConfig {
	return epoch === undefined ? config : clampTimes(config, new Date(epoch * 1000), base);
}

/** How many layers are the base image's own: those are never rewritten. */
export function baseLayers(layers: readonly SealedLayer[], base: ImageConfig | undefined): number {
	const known = base?.rootfs.diff_ids ?? [];
	const diverged = layers.findIndex((layer, i) => (layer.origin?.diffId ?? layer.turbo?.diffId ?? layer.digest) !== known[i]);
	return diverged < 0 ? layers.length : diverged;
}
