// Makes an image's documents: layers with their descriptors, config with history, manifest, attestations, index.
import {
	document, encodeImageConfig, encodeIndex, encodeManifest, mediaTypes, withLayers,
	type Descriptor, type Document, type ImageConfig,
} from '../image/index.js';
import { sealedLayers } from '../snapshot/index.js';
import { annotationsFor, checkAnnotations, type AnnotationSet } from './annotations.js';
import { attestationManifest, type AttestationManifest } from './attestations.js';
import { step, type BuildOutput, type CommittedImage, type ExportContext, type ImageBlob, type PlatformResult } from './content.js';
import type { ImageLayer } from './layers.js';
import type { OrdinaryLayers, Rewrite } from './ordinary-layers.js';
import type { ImageOptions } from './options.js';
import type { OverlaybdLayers } from './overlaybd-layers.js';
import { baseLayers, epochOf, withEpoch } from './timestamps.js';

/** Who makes the layers of an image. */
export interface LayerSources {
	readonly ordinary: OrdinaryLayers;
	readonly overlaybd: OverlaybdLayers;
}

/** The image of a build's result; `names` are what attestations call it. */
export async function commitImage(output: BuildOutput, options: ImageOptions, names: readonly string[], sources: LayerSources, context: ExportContext): Promise<CommittedImage> {
	const { platforms } = output;
	checkAnnotations(options.annotations, platforms.map(({ platform }) => platform), options.ociMediaTypes);
	const isIndex = output.multiPlatform || platforms.some(({ attestations = [] }) => attestations.some(({ inlineOnly }) => options.inlineAttestations || !inlineOnly));
	const common = annotationsFor(options.annotations, undefined);
	if (!isIndex && Object.keys({ ...common.index, ...common.indexDescriptor }).length > 0) throw new Error('index annotations not supported for single platform export');
	if (isIndex && !options.ociMediaTypes && platforms.some(({ attestations = [] }) => attestations.length > 0)) throw new Error('cannot export attestations with "oci-mediatypes=false"');

	const layers = await step(context, 'exporting layers', () => Promise.all(platforms.map((platform) => layersOf(platform, options, sources, context))));
	const parts = await Promise.all(platforms.map((platform, i) => commitPlatform(platform, layers[i] ?? [], options, isIndex ? platform.platform : undefined, context)));
	const blobs = parts.flatMap((part) => part.blobs);
	const [only] = parts;
	if (!isIndex) {
		if (!only || parts.length > 1) throw new Error('cannot export multiple platforms without multi-platform enabled');
		return { root: only.descriptor, configDigest: only.config.digest, manifests: [blobOf(only.manifest)], blobs };
	}
	const attested = await Promise.all(platforms.map(({ attestations = [], platform }, i) => {
		const descriptor = parts[i]?.manifest.descriptor;
		if (!descriptor || attestations.length === 0) return undefined;
		const image = { descriptor, platform, layers: (layers[i] ?? []).map(({ blob }) => blob.descriptor) };
		return commitAttestations(() => attestationManifest(attestations, image, names, options), context);
	}));
	const attestations = attested.filter((manifest) => manifest !== undefined);
	const index = encodeIndex({
		mediaType: options.ociMediaTypes ? mediaTypes.ociIndex : mediaTypes.dockerIndex,
		manifests: [...parts, ...attestations].map(({ descriptor }) => descriptor),
		...annotated(common.index),
	});
	await step(context, `exporting manifest list ${index.descriptor.digest}`, () => Promise.resolve());
	return {
		root: { ...index.descriptor, ...annotated(common.indexDescriptor) },
		configDigest: undefined,
		manifests: [...[...parts, ...attestations].map(({ manifest }) => blobOf(manifest)), blobOf(index)],
		blobs: [...blobs, ...attestations.flatMap((manifest) => manifest.blobs)],
	};
}

async function commitAttestations(make: () => Promise<AttestationManifest>, context: ExportContext): Promise<AttestationManifest> {
	const made = await make();
	await step(context, `exporting attestation manifest ${made.manifest.descriptor.digest}`, () => Promise.resolve());
	return made;
}

interface ManifestPart {
	readonly manifest: Document;
	/** As an index names it. */
	readonly descriptor: Descriptor;
	readonly config: Descriptor;
	readonly blobs: readonly ImageBlob[];
}

/** `annotated`: the platform whose own annotations count too, in an index. */
async function commitPlatform(result: PlatformResult, layers: readonly ImageLayer[], options: ImageOptions, inIndex: PlatformResult['platform'] | undefined, context: ExportContext): Promise<ManifestPart> {
	const annotations = annotationsFor(options.annotations, inIndex);
	const part = await commitManifest(await configOf(result, layers, options), layers, options, annotations, context);
	return { ...part, descriptor: { ...part.manifest.descriptor, ...annotated(annotations.manifestDescriptor), platform: result.platform } };
}

/** The config for these layers, with times and cache records as they were asked for. */
async function configOf(result: PlatformResult, layers: readonly ImageLayer[], options: ImageOptions): Promise<ImageConfig> {
	const config = withEpoch(withLayers(result.config, layers.map(({ record }) => record)), epochOf(options.epoch, result), result.baseConfig);
	// Records of a cache name the layers they stand for: those of the image must be the same.
	const cache = options.compression === 'overlaybd' && !options.rewriteTimestamp ? await result.inlineCache?.() : undefined;
	return cache ? { ...config, 'moby.buildkit.cache.v0': Buffer.from(cache).toString('base64') } : config;
}

async function commitManifest(config: ImageConfig, layers: readonly ImageLayer[], options: ImageOptions, annotations: AnnotationSet, context: ExportContext): Promise<Omit<ManifestPart, 'descriptor'>> {
	const bytes = encodeImageConfig(config);
	const configDescriptor = document(options.ociMediaTypes ? mediaTypes.ociConfig : mediaTypes.dockerConfig, bytes);
	const manifest = encodeManifest({
		mediaType: options.ociMediaTypes ? mediaTypes.ociManifest : mediaTypes.dockerManifest,
		config: configDescriptor.descriptor,
		layers: layers.map(({ blob }) => blob.descriptor),
		...annotated(annotations.manifest),
	});
	await step(context, `exporting manifest ${manifest.descriptor.digest}`, () => Promise.resolve());
	await step(context, `exporting config ${configDescriptor.descriptor.digest}`, () => Promise.resolve());
	return {
		manifest,
		config: configDescriptor.descriptor,
		blobs: [...layers.flatMap(({ blob, target }) => (target ? [blob, target] : [blob])), { descriptor: configDescriptor.descriptor, origin: { kind: 'bytes', bytes } }],
	};
}

async function layersOf(result: PlatformResult, options: ImageOptions, sources: LayerSources, context: ExportContext): Promise<ImageLayer[]> {
	const rewrite = await rewriteOf(result, options, context);
	if (options.compression === 'overlaybd') return sources.overlaybd.layersOf(result.snapshot, options.ociMediaTypes, rewrite, context);
	return sources.ordinary.layersOf(result.snapshot, { ...options, rewrite }, context);
}

async function rewriteOf(result: PlatformResult, options: ImageOptions, { reporter }: ExportContext): Promise<Rewrite | undefined> {
	if (!options.rewriteTimestamp) return undefined;
	const epoch = epochOf(options.epoch, result);
	if (epoch === undefined) {
		reporter.log(2, Buffer.from('rewrite-timestamp is specified, but no source-date-epoch was found\n'));
		return undefined;
	}
	return { epoch, base: baseLayers(await sealedLayers(result.snapshot), result.baseConfig) };
}

function blobOf({ descriptor, bytes }: Document): ImageBlob {
	return { descriptor, origin: { kind: 'bytes', bytes } };
}

function annotated(annotations: Readonly<Record<string, string>>): { annotations?: Readonly<Record<string, string>> } {
	return Object.keys(annotations).length > 0 ? { annotations } : {};
}
