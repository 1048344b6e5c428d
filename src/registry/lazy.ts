// Reading parts of layers for a device that waits for them.
import { RegistryClient, type RegistryOptions } from './client.js';
import { endlessRetryPolicy } from './retry.js';

/** Where a blob is: plain JSON, as the device server is given it. */
export interface BlobLocation {
	/** Registry reference of the repository, e.g. `127.0.0.1:5000/base`. */
	readonly repository: string;
	/** Plain http or unverified https is allowed for this registry. */
	readonly insecure: boolean;
}

export class LazyReader {
	readonly #client: RegistryClient;

	constructor(options: RegistryOptions = {}) {
		this.#client = new RegistryClient({ retry: endlessRetryPolicy, ...options });
	}

	/**
	 * Exactly `length` bytes at `offset` of a blob. What may be gone the next time is tried again until `signal`
	 * fires; the error then says what failed, where, and how often it was tried.
	 */
	async readRange(location: BlobLocation, digest: string, offset: number, length: number, signal: AbortSignal): Promise<Uint8Array> {
		const repository = this.#client.repository(location.repository, { insecure: location.insecure });
		return repository.readRange({ digest }, offset, length, { signal });
	}

	close(): void {
		this.#client.close();
	}
}
