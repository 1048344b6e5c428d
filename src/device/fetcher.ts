// How the device server gets bytes of remote blobs.
import { deviceAddon, type FetchRequest } from '../native/device.js';
import type { Place, Places } from './places.js';
import type { RemoteSource } from './types.js';

export interface BlobFetcher {
	/**
	 * Reads exactly the bytes asked for, from the first place that gives them; `onBytes` gets them in order, as they
	 * come. Retries what can be retried until nothing has come for a time limit, or `signal` aborts. The error's message
	 * says what failed, where (registry, status) and how long it was tried.
	 */
	readRange(places: readonly Place[], request: FetchRequest, onBytes: (bytes: Uint8Array) => void, signal: AbortSignal): Promise<void>;
	/** Forgets what it knows of somebody. */
	forget(login: string): void;
}

/** Answers one request of the native side, whatever happens; `closing` ends it early. */
export async function answerFetch(fetcher: () => Promise<BlobFetcher>, places: Places, request: FetchRequest, closing: AbortSignal): Promise<void> {
	try {
		closing.throwIfAborted();
		const candidates = places.of(request.digest, JSON.parse(request.source) as RemoteSource);
		const receive = (bytes: Uint8Array): void => { deviceAddon().receiveFetch(request.id, bytes); };
		await (await fetcher()).readRange(candidates, request, receive, closing);
		deviceAddon().completeFetch(request.id);
	} catch (error) {
		deviceAddon().failFetch(request.id, error instanceof Error ? error.message : String(error));
	}
}
