// Uploads layers while later steps still run. What the export then finds in the registry it need not send.
import { layerType, parseReference } from '../image/index.js';
import { fileSource, type RegistryClient, type Repository } from '../registry/index.js';
import type { Layer } from '../snapshot/index.js';
import { fullNames, type ImageOptions } from './options.js';

export interface EarlyPushOptions {
	readonly registry: RegistryClient;
	readonly isInsecure: (domain: string) => boolean;
	readonly blobPath: (digest: string, size: number) => Promise<string | undefined>;
	readonly signal: AbortSignal;
}

export class EarlyPush {
	readonly #repositories: readonly Repository[];
	readonly #seen = new Set<string>();
	readonly #uploads = new Set<Promise<void>>();

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

	/** Resolves when no upload runs any more. */
	async settled(): Promise<void> {
		await Promise.all(this.#uploads);
	}

	async #upload(layer: Layer): Promise<void> {
		const { digest, size } = await layer.sealed;
		const file = await this.options.blobPath(digest, size);
		if (file === undefined) return;
		const descriptor = { mediaType: layerType('uncompressed', true), digest, size };
		for (const repository of this.#repositories) await repository.pushBlob(descriptor, fileSource(file, size), { signal: this.options.signal });
	}
}
