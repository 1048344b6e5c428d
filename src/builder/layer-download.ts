// Brings an image's overlaybd layers here as files, without a store, root or a device.
import path from 'node:path';
import { digestHex, type Platform } from '../image/index.js';
import { RegistryClient, type HostConfigs } from '../registry/index.js';
import type { BuildSession } from '../session/index.js';
import type { LayerBlob } from '../snapshot/index.js';
import { ImageResolver, imageLayers } from '../sources/index.js';

export interface DownloadOptions {
	readonly platform: Platform;
	/** Files are made in this directory, named by digest. */
	readonly directory: string;
	readonly insecureRegistries: readonly string[];
	readonly hosts: HostConfigs;
	readonly signal: AbortSignal;
}

const nothingLent: BuildSession = {
	localDirectory: () => Promise.reject(new Error('no directories here')),
	secret: () => Promise.resolve(undefined),
	sshAgent: () => Promise.resolve(undefined),
	contentStore: () => Promise.reject(new Error('no content stores here')),
	upload: () => Promise.reject(new Error('no uploads here')),
};
const noCache = { get: () => Promise.resolve(undefined), put: () => Promise.resolve() };

/** A layer's blob as a file, and with a turboOCI layer the ordinary layer it points into. */
export interface DownloadedLayer {
	readonly digest: string;
	readonly file: string;
	readonly target?: string;
}

/** The layers, bottom first. Throws for an image that has ordinary layers. */
export async function downloadLayers(reference: string, options: DownloadOptions): Promise<DownloadedLayer[]> {
	const registry = new RegistryClient({ hosts: options.hosts });
	try {
		const resolver = new ImageResolver({ registry, cache: noCache, isInsecure: (domain) => options.insecureRegistries.includes(domain) });
		const { resolved, source } = await resolver.resolve(reference, options.platform, nothingLent, options.signal);
		const repository = registry.repository(source.repository, { insecure: source.insecure });
		const { block, ordinary } = await imageLayers(resolved, { source, sizeOf: (digest) => repository.blobSize(digest, options.signal) });
		if (ordinary.length > 0 || block.length === 0) {
			throw new Error(`${reference} ${block.length > 0 ? 'has ordinary layers' : 'is an ordinary image'}: make an overlaybd one of it with obd-image convert`);
		}
		const download = async ({ digest, size }: LayerBlob): Promise<string> => {
			const file = path.join(options.directory, digestHex(digest));
			await repository.download({ mediaType: '', digest, size }, file, { signal: options.signal });
			return file;
		};
		return await Promise.all(block.map(async (layer) => ({
			digest: layer.digest, file: await download(layer), ...(layer.turbo && { target: await download(layer.turbo.target) }),
		})));
	} finally {
		registry.close();
	}
}
