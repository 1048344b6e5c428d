// Fetches blobs through the registry room.
import { RegistryClient, type HostConfigs } from '../registry/index.js';
import type { BlobFetcher } from './fetcher.js';

export function registryFetcher(hosts: HostConfigs): BlobFetcher {
	const client = new RegistryClient({ hosts });
	return {
		readRange: (source, { digest, size }, offset, length, signal) => {
			const repository = client.repository(source.repository, { insecure: source.insecure });
			return repository.readRange({ mediaType: '', digest, size }, offset, length, { signal });
		},
	};
}
