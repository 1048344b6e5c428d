// Writes a cache: its layers, its config, and the manifest that names both, to a registry or a client's store.
import {
	descriptorJson, document, encodeIndex, encodeJson, encodeManifest, layerType, mediaTypes, overlaybdAnnotations, parseReference,
	type Descriptor, type Document,
} from '../image/index.js';
import { bufferSource, fileSource, pushImage, type BlobSource, type PushItem, type RegistryClient, type Repository } from '../registry/index.js';
import type { BuildSession } from '../session/index.js';
import type { SealedLayer } from '../snapshot/index.js';
import type { VertexReporter } from '../solver/index.js';
import { configMediaType, encodeConfig, type CacheEntry } from './config.js';
import type { CacheExport } from './options.js';

export interface CacheExportContext {
	readonly registry: RegistryClient;
	readonly isInsecure: (domain: string) => boolean;
	readonly blobPath: (digest: string, size: number) => Promise<string | undefined>;
	readonly session: BuildSession;
	readonly reporter: VertexReporter;
	readonly signal: AbortSignal;
}

/** What progress calls an export. */
export function cacheExportName({ type }: CacheExport): string {
	return type === 'registry' ? 'exporting cache to registry' : 'exporting cache to client directory';
}

/** Writes the entries. The answer is BuildKit's: `cache.manifest` describes what was written; without layers nothing is. */
export async function exportCache(target: CacheExport, entries: readonly CacheEntry[], context: CacheExportContext): Promise<Record<string, string>> {
	if (target.note !== undefined) context.reporter.log(2, Buffer.from(`${target.note}\n`));
	const { bytes, layers } = encodeConfig(entries);
	if (layers.length === 0) {
		context.reporter.status('skipping cache export for empty result').done();
		return {};
	}
	const descriptors = layers.map(({ digest, size }) => ({ mediaType: layerType('uncompressed', target.ociMediaTypes), digest, size, annotations: overlaybdAnnotations(digest, size) }));
	const config = document(configMediaType, bytes);
	const manifest = target.imageManifest
		? encodeManifest({ mediaType: mediaTypes.ociManifest, config: config.descriptor, layers: descriptors })
		: encodeIndex({ mediaType: target.ociMediaTypes ? mediaTypes.ociIndex : mediaTypes.dockerIndex, manifests: [...descriptors, config.descriptor] });
	const parts = { layers, descriptors, config, manifest };
	await (target.type === 'registry' ? toRegistry(target, parts, context) : toStore(target, parts, context));
	context.reporter.status(`writing config ${config.descriptor.digest}`).done();
	context.reporter.status(`writing cache ${target.imageManifest ? 'image ' : ''}manifest ${manifest.descriptor.digest}`).done();
	return { 'cache.manifest': Buffer.from(encodeJson(descriptorJson(manifest.descriptor))).toString() };
}

interface Parts {
	readonly layers: readonly SealedLayer[];
	readonly descriptors: readonly Descriptor[];
	readonly config: Document;
	readonly manifest: Document;
}

async function toRegistry(target: CacheExport, { layers, descriptors, config, manifest }: Parts, context: CacheExportContext): Promise<void> {
	const reference = parseReference(target.target);
	const repository = context.registry.repository(reference, { insecure: target.insecure || context.isInsecure(reference.domain) });
	const items = await Promise.all(layers.map((layer, i) => pushItem(layer, descriptors[i], repository, context)));
	await pushImage(repository, [...items, { descriptor: config.descriptor, source: bufferSource(config.bytes) }], [manifest], [reference.tag ?? 'latest'], {
		signal: context.signal,
		onPushed: ({ digest, mediaType }) => { if (mediaType !== configMediaType) context.reporter.status(`writing layer ${digest}`).done(); },
	});
}

async function pushItem({ digest, size, source }: SealedLayer, descriptor: Descriptor | undefined, repository: Repository, context: CacheExportContext): Promise<PushItem> {
	if (!descriptor) throw new Error(`layer ${digest} has no descriptor`);
	const file = await context.blobPath(digest, size);
	if (file !== undefined) return { descriptor, source: fileSource(file, size) };
	if (!source) throw new Error(`missing blob ${digest}`);
	const from = context.registry.repository(source.repository, { insecure: source.insecure });
	const blob: BlobSource = { size, open: (offset) => from.readBlob(descriptor, { offset, signal: context.signal }) };
	return { descriptor, source: blob, ...(from.domain === repository.domain && { mountFrom: [from.path] }) };
}

async function toStore(target: CacheExport, { layers, config, manifest }: Parts, context: CacheExportContext): Promise<void> {
	const store = await context.session.contentStore(`local:${target.target}`);
	for (const layer of layers) {
		const status = context.reporter.status(`writing layer ${layer.digest}`);
		const source = await layerSource(layer, context);
		await store.write(layer, () => source.open(0), context.signal);
		status.done();
	}
	for (const { descriptor, bytes } of [config, manifest]) await store.write(descriptor, () => bufferSource(bytes).open(0), context.signal);
}

async function layerSource({ digest, size, source }: SealedLayer, { blobPath, registry, signal }: CacheExportContext): Promise<BlobSource> {
	const file = await blobPath(digest, size);
	if (file !== undefined) return fileSource(file, size);
	if (!source) throw new Error(`missing blob ${digest}`);
	const repository = registry.repository(source.repository, { insecure: source.insecure });
	return { size, open: () => repository.readBlob({ mediaType: '', digest, size }, { signal }) };
}
