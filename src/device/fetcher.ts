// How the device server gets bytes of remote blobs.
import { deviceAddon, type FetchRequest } from '../native/device.js';
import type { RemoteSource } from './types.js';

export interface BlobFetcher {
	/**
	 * Reads exactly `length` bytes at `offset` of a blob. Retries what can be retried until `signal` aborts.
	 * The error's message says what failed, where (registry, status) and how long it was tried.
	 */
	readRange(source: RemoteSource, digest: string, offset: number, length: number, signal: AbortSignal): Promise<Uint8Array>;
}

/** Bytes that are not there after this are an I/O error to whoever reads the disk. */
const deadlineMs = 60_000;

/** Answers one request of the native side, whatever happens; `closing` ends it early. */
export async function answerFetch(fetcher: () => Promise<BlobFetcher>, request: FetchRequest, closing: AbortSignal): Promise<void> {
	try {
		const source = JSON.parse(request.source) as RemoteSource;
		const signal = AbortSignal.any([AbortSignal.timeout(deadlineMs), closing]);
		closing.throwIfAborted();
		const data = await (await fetcher()).readRange(source, request.digest, request.offset, request.length, signal);
		deviceAddon().completeFetch(request.id, data);
	} catch (error) {
		deviceAddon().failFetch(request.id, error instanceof Error ? error.message : String(error));
	}
}
