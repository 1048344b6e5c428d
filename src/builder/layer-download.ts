// Brings an image's overlaybd layers here as files, without a store, root or a device.
import path from 'node:path';
import { digestHex, type Platform } from '../image/index.js';
import { RegistryClient, type HostConfigs } from '../registry/index.js';
import type { BuildSession } from '../session/index.js';
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

/** Paths of the layers, bottom first. Throws for an image whose layers are no overlaybd layers. */
export async function downloadLayers(reference: string, options: DownloadOptions): Promise<string[]> {
	const registry = new RegistryClient({ hosts: options.hosts });
	try {
		const resolver = new ImageResolver({ registry, cache: noCache, isInsecure: (domain) => options.insecureRegistries.includes(domain) });
		const { resolved, source } = await resolver.resolve(reference, options.platform, nothingLent, options.signal);
		const layers = imageLayers(resolved, source);
		if (layers.kind !== 'overlaybd') throw new Error(`${reference} is an ordinary image: make an overlaybd one of it with obd-image convert`);
		return await Promise.all(layers.layers.map(async ({ digest, size }) => {
			const file = path.join(options.directory, digestHex(digest));
			await registry.repository(source.repository, { insecure: source.insecure }).download({ mediaType: '', digest, size }, file, { signal: options.signal });
			return file;
		}));
	} finally {
		registry.close();
	}
}
