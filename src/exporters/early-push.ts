// Uploads layers while later steps still run. What the export then finds in the registry it need not send.
import { layerType, parseReference, type Descriptor } from '../image/index.js';
import { fileSource, type RegistryClient, type Repository } from '../registry/index.js';
import type { Layer } from '../snapshot/index.js';
import { fullNames, type ImageOptions } from './options.js';

export interface EarlyPushOptions {
	readonly registry: RegistryClient;
	readonly isInsecure: (domain: string) => boolean;
	readonly blobPath: (digest: string, size: number) => Promise<string | undefined>;
	readonly signal: AbortSignal;
}

/** Bytes sent of a layer, and whether that is all of it. */
export type UploadListener = (layer: Descriptor, bytes: number, done: boolean) => void;

export class EarlyPush {
	readonly #repositories: readonly Repository[];
	readonly #seen = new Set<string>();
	readonly #uploads = new Set<Promise<void>>();
	/** What has been sent so far, by layer. */
	readonly #sent = new Map<Descriptor, { bytes: number; done: boolean }>();
	readonly #listeners = new Set<UploadListener>();

	constructor(image: ImageOptions, private readonly options: EarlyPushOptions) {
		this.#repositories = fullNames(image.names).map((name) => {
			const reference = parseReference(name);
			return options.registry.repository(reference, { insecure: image.insecure || options.isInsecure(reference.domain) });
		});
	}

	/** Starts to upload what of these layers has not been started yet, each as soon as it is sealed. */
	push(layers: readonly Layer[]): void {
		for (const layer of layers) {
			if (this.#seen.has(layer.id)) continue;
			this.#seen.add(layer.id);
			// A failure shows again, and is reported, when the export pushes.
			const upload: Promise<void> = this.#upload(layer).catch(() => undefined).finally(() => this.#uploads.delete(upload));
			this.#uploads.add(upload);
		}
	}

	/** Resolves when no upload runs any more; `listener` hears how far each is, those that ended before as well. */
	async settled(listener: UploadListener): Promise<void> {
		for (const [layer, { bytes, done }] of this.#sent) listener(layer, bytes, done);
		this.#listeners.add(listener);
		await Promise.all(this.#uploads);
		this.#listeners.delete(listener);
	}

	async #upload(layer: Layer): Promise<void> {
		const { digest, size } = await layer.sealed;
		const file = await this.options.blobPath(digest, size);
		if (file === undefined) return;
		const descriptor = { mediaType: layerType('uncompressed', true), digest, size };
		for (const repository of this.#repositories) {
			const onProgress = (bytes: number): void => { this.#report(descriptor, bytes, false); };
			const { how } = await repository.pushBlob(descriptor, fileSource(file, size), { signal: this.options.signal, onProgress });
			if (how === 'uploaded') this.#report(descriptor, size, true);
		}
	}

	#report(layer: Descriptor, bytes: number, done: boolean): void {
		this.#sent.set(layer, { bytes, done });
		for (const listener of this.#listeners) listener(layer, bytes, done);
	}
}
