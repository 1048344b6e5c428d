// Small real images for registry tests.
import { randomBytes } from 'node:crypto';
import {
	digestOf, document, encodeImageConfig, encodeManifest, mediaTypes, newImageConfig, parsePlatform, withLayers, type Descriptor, type Document,
} from '../../../src/image/index.js';
import { bufferSource, pushImage, type PushItem, type Repository } from '../../../src/registry/index.js';

export interface TestImage {
	readonly manifest: Document;
	readonly config: Document;
	readonly layers: readonly Document[];
}

/** Random bytes with their descriptor, as a layer. */
export function makeLayer(size: number): Document {
	return document(mediaTypes.ociLayer, randomBytes(size));
}

export function makeImage(platform: string, layers: readonly Document[]): TestImage {
	const config = document(mediaTypes.ociConfig, encodeImageConfig(withLayers(newImageConfig(parsePlatform(platform)), layers.map(({ descriptor }) => ({ diffId: descriptor.digest })))));
	const manifest = encodeManifest({ mediaType: mediaTypes.ociManifest, config: config.descriptor, layers: layers.map(({ descriptor }) => descriptor) });
	return { manifest, config, layers };
}

export function itemsOf(image: TestImage): PushItem[] {
	return [image.config, ...image.layers].map(({ descriptor, bytes }) => ({ descriptor, source: bufferSource(bytes) }));
}

/** Pushes a one-layer image for this machine's platform. */
export async function pushTestImage(repository: Repository, tag: string, layerSize = 1000): Promise<TestImage> {
	const image = makeImage('linux', [makeLayer(layerSize)]);
	await pushImage(repository, itemsOf(image), [image.manifest], [tag]);
	return image;
}

/** A descriptor of content no registry has. */
export function missingBlob(): Descriptor {
	return { mediaType: mediaTypes.ociLayer, digest: digestOf(randomBytes(8)), size: 8 };
}
