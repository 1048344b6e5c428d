// Fetches blobs through the registry room.
import { LazyReader } from '../registry/index.js';
import type { BlobFetcher } from './fetcher.js';
import type { ServerConfig } from './protocol.js';

export function registryFetcher({ hosts, fetchTimeout, directory }: ServerConfig): BlobFetcher {
	return new LazyReader({ hosts, spoolDirectory: directory, ...(fetchTimeout !== undefined && { timeout: fetchTimeout }) });
}
