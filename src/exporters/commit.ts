// Makes an image's documents: layers with their descriptors, config with history, manifest, index.
import {
	document, encodeImageConfig, encodeIndex, encodeManifest, layerType, mediaTypes, overlaybdAnnotations, withLayers,
	type Descriptor, type Document, type ImageConfig, type LayerRecord,
} from '../image/index.js';
import { sealedLayers, type SealedLayer } from '../snapshot/index.js';
import { step, type BlobOrigin, type BuildOutput, type CommittedImage, type ExportContext, type ImageBlob, type PlatformResult } from './content.js';
import type { OrdinaryLayers } from './ordinary-layers.js';
import type { ImageOptions } from './options.js';

/** What making the layers of an image takes. */
export interface LayerSources {
	/** Path of a blob in the store. */
	blobPath(digest: string, size: number): Promise<string | undefined>;
	/** Makes ordinary layers (changesets) of snapshots. */
	readonly ordinary: OrdinaryLayers;
}

interface LayerBlob {
	readonly blob: ImageBlob;
	readonly record: LayerRecord;
}

/** The image of a build's result. */
export async function commitImage(output: BuildOutput, options: ImageOptions, sources: LayerSources, context: ExportContext): Promise<CommittedImage> {
	const layers = await step(context, 'exporting layers', () => Promise.all(output.platforms.map((platform) => layersOf(platform, options, sources, context))));
	const parts = await Promise.all(output.platforms.map((platform, i) => commitManifest(platform.config, layers[i] ?? [], options, context)));
	const blobs = parts.flatMap((part) => part.blobs);
	const [only] = parts;
	if (!output.multiPlatform && only && parts.length === 1) {
		const root = { ...only.manifest.descriptor, ...withAnnotations(options.annotations.manifestDescriptor) };
		return { root, configDigest: only.config.digest, manifests: [blobOf(only.manifest)], blobs };
	}
	const index = encodeIndex({
		mediaType: options.ociMediaTypes ? mediaTypes.ociIndex : mediaTypes.dockerIndex,
		manifests: parts.map(({ manifest }, i) => {
			const platform = output.platforms[i]?.platform;
			return { ...manifest.descriptor, ...withAnnotations(options.annotations.manifestDescriptor), ...(platform && { platform }) };
		}),
		...withAnnotations(options.annotations.index),
	});
	await step(context, `exporting manifest list ${index.descriptor.digest}`, () => Promise.resolve());
	return { root: index.descriptor, configDigest: undefined, manifests: [...parts.map(({ manifest }) => blobOf(manifest)), blobOf(index)], blobs };
}

interface ManifestPart {
	readonly manifest: Document;
	readonly config: Descriptor;
	readonly blobs: readonly ImageBlob[];
}

async function commitManifest(config: ImageConfig, layers: readonly LayerBlob[], options: ImageOptions, context: ExportContext): Promise<ManifestPart> {
	const bytes = encodeImageConfig(withLayers(config, layers.map(({ record }) => record)));
	const configDescriptor = document(options.ociMediaTypes ? mediaTypes.ociConfig : mediaTypes.dockerConfig, bytes);
	const manifest = encodeManifest({
		mediaType: options.ociMediaTypes ? mediaTypes.ociManifest : mediaTypes.dockerManifest,
		config: configDescriptor.descriptor,
		layers: layers.map(({ blob }) => blob.descriptor),
		...withAnnotations(options.annotations.manifest),
	});
	await step(context, `exporting manifest ${manifest.descriptor.digest}`, () => Promise.resolve());
	await step(context, `exporting config ${configDescriptor.descriptor.digest}`, () => Promise.resolve());
	return {
		manifest,
		config: configDescriptor.descriptor,
		blobs: [...layers.map(({ blob }) => blob), { descriptor: configDescriptor.descriptor, origin: { kind: 'bytes', bytes } }],
	};
}

async function layersOf(platform: PlatformResult, options: ImageOptions, sources: LayerSources, context: ExportContext): Promise<LayerBlob[]> {
	if (options.compression === 'overlaybd') {
		const sealed = await sealedLayers(platform.snapshot);
		return Promise.all(sealed.map((layer) => overlaybdLayer(layer, options.ociMediaTypes, sources)));
	}
	return sources.ordinary.layersOf(platform.snapshot, options, context);
}

async function overlaybdLayer(layer: SealedLayer, oci: boolean, sources: LayerSources): Promise<LayerBlob> {
	const { digest, size, createdAt } = layer;
	return {
		blob: {
			descriptor: { mediaType: layerType('uncompressed', oci), digest, size, annotations: overlaybdAnnotations(digest, size) },
			origin: await layerOrigin(layer, sources),
		},
		record: { diffId: digest, ...(createdAt !== undefined && { createdAt }) },
	};
}

async function layerOrigin({ digest, size, source }: SealedLayer, sources: LayerSources): Promise<BlobOrigin> {
	const path = await sources.blobPath(digest, size);
	if (path !== undefined) return { kind: 'file', path };
	if (source) return { kind: 'remote', source };
	throw new Error(`layer ${digest} is neither in the store nor in a registry`);
}

function blobOf({ descriptor, bytes }: Document): ImageBlob {
	return { descriptor, origin: { kind: 'bytes', bytes } };
}

function withAnnotations(annotations: Readonly<Record<string, string>>): { annotations?: Readonly<Record<string, string>> } {
	return Object.keys(annotations).length > 0 ? { annotations } : {};
}
