// A build's result in the form BuildKit's exporters read: a reference a platform, and metadata about them.
import type { Platform } from '../src/llb/index.js';
import { goJson } from '../src/llb/index.js';
import type { FrontendResult } from './build.js';
import { encodeImage } from './image.js';

/** Keys of result metadata, as in BuildKit's exporter/containerimage/exptypes. */
export const metadataKey = {
	config: 'containerimage.config',
	baseConfig: 'containerimage.base.config',
	platforms: 'refs.platforms',
	epoch: 'source.date.epoch',
} as const;

/**
 * Image configs and platforms of a result. With several platforms a key has the platform's id behind it:
 * `containerimage.config/linux/amd64`.
 */
export function resultMetadata({ platforms, multiPlatform }: FrontendResult): Map<string, Uint8Array> {
	const metadata = new Map<string, Uint8Array>();
	for (const { id, imageConfig, baseImageConfig, epoch } of platforms) {
		const key = (name: string): string => (multiPlatform ? `${name}/${id}` : name);
		metadata.set(key(metadataKey.config), encodeImage(imageConfig));
		if (baseImageConfig) metadata.set(key(metadataKey.baseConfig), encodeImage(baseImageConfig));
		if (epoch !== undefined) metadata.set(key(metadataKey.epoch), Buffer.from(String(epoch)));
	}
	const list = platforms.map(({ id, platform }) => ({ ID: id, Platform: platformJson(platform) }));
	metadata.set(metadataKey.platforms, Buffer.from(goJson({ Platforms: list })));
	return metadata;
}

/** A platform as in an OCI index. */
function platformJson({ os, architecture, variant, osVersion, osFeatures }: Platform): object {
	return {
		architecture,
		os,
		...(osVersion ? { 'os.version': osVersion } : {}),
		...(osFeatures?.length ? { 'os.features': osFeatures } : {}),
		...(variant ? { variant } : {}),
	};
}
