// oci-layout:// sources: an image in a content store of the client. Its layers are brought into obd's own store.
import { Readable } from 'node:stream';
import { detectMediaType, maxManifestSize, parseReference, Verifier, type Descriptor, type Platform } from '../image/index.js';
import { attr, type SourceOp } from '../llb/index.js';
import { resolveImage, type ImageDocuments, type ResolvedImage } from '../registry/index.js';
import type { ContentStore } from '../session/index.js';
import { blobsOf, type LayerBlob } from '../snapshot/index.js';
import { layerLimit } from './attributes.js';
import { convert, type ConversionOptions } from './image.js';
import { imageLayers } from './image-layers.js';
import { PerBuild, type Source, type SourceContent, type SourceContext, type SourceIdentity } from './source.js';

/** Where blobs go that were brought from a client; the store implements it. */
export interface BlobImport {
	blobPath(digest: string, size: number): Promise<string | undefined>;
	/** Stores the content, which must be the blob named. */
	import(digest: string, size: number, content: AsyncIterable<Uint8Array>): Promise<void>;
}

export interface OciLayoutOptions extends ConversionOptions {
	readonly blobs: BlobImport;
	/** Shared by the sources of all builds. */
	readonly resolved: PerBuild<ResolvedImage>;
}

const maxDocumentSize = 32 * 1024 * 1024;

export class OciLayoutSource implements Source {
	readonly #reference: string;
	readonly #digest: string;
	readonly #storeId: string;
	readonly #limit: number | undefined;

	constructor(op: SourceOp, private readonly platform: Platform, private readonly options: OciLayoutOptions) {
		this.#reference = op.identifier.slice('oci-layout://'.length);
		const { digest } = parseReference(this.#reference);
		if (digest === undefined) throw new Error(`reference ${JSON.stringify(this.#reference)} must have digest`);
		this.#digest = digest;
		this.#storeId = op.attrs.get(attr.ociStoreId) ?? this.#reference.replace(/(?::[^/@]+)?@.*$/, '');
		this.#limit = layerLimit(op, attr.ociLayerLimit);
	}

	async identity(context: SourceContext): Promise<SourceIdentity> {
		const { descriptor, target } = await this.resolve(context);
		const limit = this.#limit === undefined ? '' : ` limit ${this.#limit}`;
		return {
			key: `image ${descriptor.digest}${limit}`,
			material: { kind: 'image', reference: this.#reference, digest: target.digest, platform: this.platform, local: true },
		};
	}

	async fetch(context: SourceContext): Promise<SourceContent> {
		const store = await this.#store(context);
		const layers = await imageLayers(await this.resolve(context), {
			...(this.#limit !== undefined && { limit: this.#limit }),
			sizeOf: async (digest) => {
				const size = await store.size(digest);
				if (size === undefined) throw new Error(`content ${digest}: not found`);
				return size;
			},
		});
		for (const blob of layers.block.flatMap(blobsOf)) await this.#import(blob, store, context);
		const open = (layer: Descriptor, signal: AbortSignal): Readable => Readable.from(verified(store, layer, signal), { objectMode: false });
		return { kind: 'snapshot', snapshot: await convert(layers, open, this.options, context) };
	}

	/** The image for the platform, its documents checked against their digests. */
	resolve(context: Pick<SourceContext, 'session' | 'signal'>): Promise<ResolvedImage> {
		const key = JSON.stringify([this.#storeId, this.#reference, this.platform]);
		return this.options.resolved.get(context.session, key, async () => {
			const store = await this.#store(context);
			const documents = layoutDocuments(store, `oci-layout ${this.#storeId}`, context.signal);
			const known = await rootDescriptor(store, this.#digest, this.#reference, context.signal);
			return resolveImage(documents, parseReference(this.#reference), { platform: this.platform, known, signal: context.signal });
		});
	}

	#store({ session }: Pick<SourceContext, 'session'>): Promise<ContentStore> {
		return session.contentStore(`oci:${this.#storeId}`);
	}

	async #import({ digest, size }: LayerBlob, store: ContentStore, { reporter, signal }: SourceContext): Promise<void> {
		if ((await this.options.blobs.blobPath(digest, size)) !== undefined) return;
		const status = reporter.status(`copying ${digest}`, size);
		await this.options.blobs.import(digest, size, store.read(digest, { signal }));
		status.done();
	}
}

/** What stands at the root: nobody says its type, so its bytes do. */
async function rootDescriptor(store: ContentStore, digest: string, reference: string, signal: AbortSignal): Promise<Descriptor> {
	const size = await store.size(digest);
	if (size === undefined) throw new Error(`unable to get info about digest: content ${digest}: not found`);
	const bytes = await readDocument(store, { mediaType: '', digest, size }, maxManifestSize, signal);
	const mediaType = detectMediaType(bytes);
	if (mediaType === undefined) throw new Error(`reference ${JSON.stringify(reference)} contains neither an index nor a manifest`);
	return { mediaType, digest, size };
}

function layoutDocuments(store: ContentStore, domain: string, signal: AbortSignal): ImageDocuments {
	return {
		domain,
		fetchManifest: (descriptor) => readDocument(store, descriptor, maxManifestSize, signal),
		fetchDocument: (descriptor) => readDocument(store, descriptor, maxDocumentSize, signal),
	};
}

async function readDocument(store: ContentStore, descriptor: Descriptor, limit: number, signal: AbortSignal): Promise<Uint8Array> {
	if (descriptor.size > limit) throw new Error(`${descriptor.digest}: ${descriptor.size} bytes is too big for a document of an image`);
	const chunks: Uint8Array[] = [];
	for await (const chunk of verified(store, descriptor, signal)) chunks.push(chunk);
	return Buffer.concat(chunks);
}

/** A blob's bytes; fails at the end when they are not those of the digest. */
async function* verified(store: ContentStore, { digest, size }: Pick<Descriptor, 'digest' | 'size'>, signal: AbortSignal): AsyncGenerator<Uint8Array> {
	const verifier = new Verifier(digest);
	for await (const chunk of store.read(digest, { signal })) {
		verifier.update(chunk);
		if (verifier.size > size) break;
		yield chunk;
	}
	if (verifier.size !== size || verifier.finish() !== digest) throw new Error(`content ${digest}: the client sent something else`);
}
