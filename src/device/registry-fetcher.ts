// Fetches blobs through the registry room.
import { LazyReader, type HostConfigs } from '../registry/index.js';
import type { BlobFetcher } from './fetcher.js';

export function registryFetcher(hosts: HostConfigs): BlobFetcher {
	return new LazyReader({ hosts });
}
