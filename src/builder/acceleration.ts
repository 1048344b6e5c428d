// Images with an acceleration layer on top, as `ctr record-trace` makes them: a trace of what a start of the
// image reads, or a list of paths, so that whoever starts it next can fetch that first.
import { pack } from 'tar-stream';
import {
	digestOf, document, encodeImageConfig, encodeManifest, isAccelerationLayer, isOverlaybdLayer, mediaTypes, overlaybdAnnotations, overlaybdKeys, parseReference,
	turboTarget, type Descriptor, type Manifest,
} from '../image/index.js';
import { bufferSource, pushImage, type PushItem, type RegistryClient, type ResolvedImage } from '../registry/index.js';
import type { RemoteSource } from '../device/types.js';

export interface AccelerateOptions {
	readonly registry: RegistryClient;
	readonly resolved: ResolvedImage;
	/** Where the image is. */
	readonly source: RemoteSource;
	/** The reference to push to. */
	readonly target: string;
	readonly insecure: boolean;
	/** The trace file or the list. */
	readonly trace: Uint8Array;
	readonly signal: AbortSignal;
}

/** Fails unless an image's layers can carry a trace. */
export function checkAcceleratable({ layers }: Manifest): void {
	if (layers.some(isAccelerationLayer)) throw new Error('acceleration layer already exists');
	const top = layers.at(-1);
	if (!top || !isOverlaybdLayer(top)) throw new Error('must be an overlaybd image');
}

/** Pushes the image with the layer on top. Returns the manifest's digest. */
export async function pushAccelerated({ registry, resolved, source, target, insecure, trace, signal }: AccelerateOptions): Promise<string> {
	const { manifest, config } = resolved;
	checkAcceleratable(manifest);
	const blob = await tarOf(trace);
	const digest = digestOf(blob);
	const fsType = manifest.layers.at(-1)?.annotations?.[overlaybdKeys.blobFsType];
	const layer: Descriptor = {
		mediaType: mediaTypes.ociLayer, digest, size: blob.length,
		annotations: { ...overlaybdAnnotations(digest, blob.length), [overlaybdKeys.accelerationLayer]: 'yes', ...(fsType !== undefined && { [overlaybdKeys.blobFsType]: fsType }) },
	};
	const created = new Date().toISOString();
	const newConfig = document(manifest.config.mediaType, encodeImageConfig({
		...config,
		created,
		history: [{ created, created_by: 'Acceleration Layer' }, ...(config.history ?? [])],
		rootfs: { ...config.rootfs, diff_ids: [...config.rootfs.diff_ids, digest] },
	}));
	const newManifest = encodeManifest({ ...manifest, config: newConfig.descriptor, layers: [...manifest.layers, layer] });

	const reference = parseReference(target);
	const from = registry.repository(source.repository, { insecure: source.insecure });
	const repository = registry.repository(reference, { insecure });
	const copied = async (descriptor: Descriptor): Promise<PushItem> => ({
		descriptor,
		source: { size: descriptor.size, open: (offset) => from.readBlob(descriptor, { offset, signal }) },
		...(from.domain === repository.domain && { mountFrom: [from.path] }),
	});
	const targets = await Promise.all(manifest.layers.flatMap((one) => turboTarget(one) ?? []).map(async (one) => ({ ...one, size: await from.blobSize(one.digest, signal) })));
	const items = [
		...(await Promise.all([...manifest.layers, ...targets].map(copied))),
		{ descriptor: layer, source: bufferSource(blob) },
		{ descriptor: newConfig.descriptor, source: bufferSource(newConfig.bytes) },
	];
	await pushImage(repository, items, [newManifest], [reference.tag ?? 'latest'], { signal });
	return newManifest.descriptor.digest;
}

/** One read-only file without times. */
async function tarOf(trace: Uint8Array): Promise<Buffer> {
	const archive = pack();
	archive.entry({ name: 'trace', mode: 0o444, mtime: new Date(0) }, Buffer.from(trace));
	archive.finalize();
	const chunks: Buffer[] = [];
	for await (const chunk of archive as AsyncIterable<Buffer>) chunks.push(chunk);
	return Buffer.concat(chunks);
}
