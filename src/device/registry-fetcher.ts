// Fetches blobs through the registry room, in the names of the builds that read them.
import { isRegistryError, LazyReader, type CredentialProvider, type Credentials, type Token, type TokenRequest } from '../registry/index.js';
import type { BlobFetcher } from './fetcher.js';
import type { LoginQuestion, ServerConfig } from './protocol.js';

/** `ask` gets the builder's answer. */
export function registryFetcher({ hosts, fetchTimeout, directory }: ServerConfig, ask: (question: LoginQuestion) => Promise<unknown>): BlobFetcher {
	const reader = new LazyReader({ hosts, spoolDirectory: directory, ...(fetchTimeout !== undefined && { timeout: fetchTimeout }) });
	const providers = new Map<string, CredentialProvider>();
	const providerOf = (login: string | undefined): CredentialProvider | undefined => {
		if (login === undefined) return undefined;
		const provider = providers.get(login) ?? Object.assign(
			async (host: string) => await ask({ login, host }) as Credentials | undefined,
			{ token: async (token: TokenRequest) => await ask({ login, token }) as Token | undefined },
		);
		providers.set(login, provider);
		return provider;
	};
	return {
		readRange: async (places, request, onBytes, signal) => {
			let { offset, length } = request;
			const receive = (bytes: Uint8Array): void => {
				offset += bytes.length;
				length -= bytes.length;
				onBytes(bytes);
			};
			for (const [i, { source, login }] of places.entries()) {
				try {
					return await reader.readRange(source, { ...request, offset, length }, receive, signal, providerOf(login));
				} catch (error) {
					if (i === places.length - 1 || !isRegistryError(error, 'unauthorized', 'denied', 'not-found')) throw error;
				}
			}
			throw new Error(`no place to read ${request.digest} from`);
		},
		forget: (login) => void providers.delete(login),
	};
}
