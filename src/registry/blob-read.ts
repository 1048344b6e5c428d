// Reading blobs over connections that break and servers that have their own idea of ranges.
import type { OutgoingHttpHeaders } from 'node:http';
import { Verifier, type Descriptor } from '../image/index.js';
import type { Endpoint } from './endpoint.js';
import { asked, isRegistryError, RegistryError } from './errors.js';
import { refusal } from './refusal.js';
import { Patience } from './patience.js';
import { bytesToSkip, rangeHeader } from './ranges.js';
import { Backoff, type RetryPolicy } from './retry.js';
import { discardBody, networkError, type HttpResponse } from './transport.js';
import type { ProgressCallback } from './repository.js';

/** What reading needs of its repository. */
export interface BlobReader {
	readonly name: string;
	readonly retry: RetryPolicy;
	readonly redirects: RedirectCache;
	readonly resting: RestingMirrors;
	readonly signal?: AbortSignal;
	/** Mirrors first. */
	readonly endpoints: readonly Endpoint[];
	open(endpoint: Endpoint, digest: string, headers: OutgoingHttpHeaders, signal?: AbortSignal): Promise<HttpResponse>;
}

/** A connection that delivered this much since it last broke has earned itself new retries. */
const progressWorthRetrying = 1024 * 1024;
/** The same for a part of one. */
const partWorthRetrying = 16 * 1024;
/** Milliseconds a storage location is used again before the registry is asked anew. */
const redirectLifetime = 60_000;
const maxRedirectEntries = 1024;

/** Where a registry has sent us for a blob: saves a request for each lazy read. */
export class RedirectCache {
	readonly #urls = new Map<string, { readonly url: URL; readonly until: number }>();

	get(key: string): URL | undefined {
		const entry = this.#urls.get(key);
		return entry !== undefined && entry.until > Date.now() ? entry.url : undefined;
	}

	set(key: string, url: URL): void {
		if (this.#urls.size >= maxRedirectEntries) this.#urls.clear();
		this.#urls.set(key, { url, until: Date.now() + redirectLifetime });
	}

	delete(key: string): void {
		this.#urls.delete(key);
	}
}

/** Milliseconds a mirror that failed for a blob is not asked for it again. */
const mirrorRest = 30_000;

/** Mirrors that do not have a blob, or do not answer: a lazy read does not wait for them each time. */
export class RestingMirrors {
	readonly #until = new Map<string, number>();

	has(host: string, digest: string): boolean {
		return (this.#until.get(`${host} ${digest}`) ?? 0) > Date.now();
	}

	add(host: string, digest: string): void {
		if (this.#until.size >= maxRedirectEntries) this.#until.clear();
		this.#until.set(`${host} ${digest}`, Date.now() + mirrorRest);
	}
}

/**
 * The chunks of a blob from `offset` on. Goes on where a connection broke; checks the size and, where the
 * whole blob is read and `verify` is not off, the digest.
 */
export async function* readBlob(reader: BlobReader, descriptor: Descriptor, offset: number, onProgress?: ProgressCallback, verify = offset === 0): AsyncGenerator<Uint8Array> {
	const verifier = verify ? new Verifier(descriptor.digest) : undefined;
	let position = offset;
	let backoff = new Backoff(reader.retry, reader.signal);
	let retriedAt = offset;
	while (position < descriptor.size) {
		try {
			const response = await openAnywhere(reader, descriptor, position);
			for await (const chunk of bodyFrom(response, descriptor, position)) {
				position += chunk.length;
				verifier?.update(chunk);
				onProgress?.(position);
				yield chunk;
			}
		} catch (error) {
			if (position - retriedAt >= progressWorthRetrying) backoff = new Backoff(reader.retry, reader.signal);
			retriedAt = position;
			await backoff.wait(error);
		}
	}
	if (verifier !== undefined) checkDigest(reader, descriptor, verifier);
}

function checkDigest(reader: BlobReader, descriptor: Descriptor, verifier: Verifier): void {
	const actual = verifier.finish();
	if (actual === descriptor.digest) return;
	throw new RegistryError(`${reader.name}@${descriptor.digest}: the registry sent other content, with digest ${actual}`, {
		kind: 'content', registry: reader.endpoints.at(-1)?.host ?? '', method: 'GET', path: '',
	});
}

/** A blob to read from; its size where it is known. */
export interface BlobName {
	readonly digest: string;
	readonly size?: number;
}

/** How a part is read. */
export interface RangeOptions {
	/** Ask the registry itself before its mirrors. */
	readonly originFirst?: boolean;
	/** A server that ignores ranges is a `RangesIgnoredError`, and not read up to the end of the part. */
	readonly onlyRanges?: boolean;
	/** Milliseconds a request may go on with next to nothing coming before it is made anew. */
	readonly stallTimeout?: number;
	/** Bytes that have just come. */
	readonly onProgress?: ProgressCallback;
}

/** The server sends the whole blob whatever part it is asked for. */
export class RangesIgnoredError extends Error {
	override readonly name = 'RangesIgnoredError';
}

/** Exactly `length` bytes from `offset`. Goes on where a connection broke. */
export async function readRange(reader: BlobReader, blob: BlobName, offset: number, length: number, options: RangeOptions = {}): Promise<Buffer> {
	const result = Buffer.allocUnsafe(length);
	let filled = 0;
	await streamRange(reader, blob, offset, length, (bytes) => {
		result.set(bytes, filled);
		filled += bytes.length;
	}, options);
	return result;
}

/** The same, handed to `onBytes` in order, as it comes. */
export async function streamRange(reader: BlobReader, blob: BlobName, offset: number, length: number, onBytes: (bytes: Uint8Array) => void, options: RangeOptions = {}): Promise<void> {
	if (offset < 0 || length < 0 || (blob.size !== undefined && offset + length > blob.size)) {
		throw new RangeError(`bytes ${offset} to ${offset + length} are not all in ${reader.name}@${blob.digest}, which has ${blob.size}`);
	}
	if (length === 0) return;
	let filled = 0;
	let backoff = new Backoff(reader.retry, reader.signal);
	for (;;) {
		const before = filled;
		const patience = options.stallTimeout === undefined ? undefined : new Patience(options.stallTimeout, reader.signal);
		try {
			await attempt(patience === undefined ? reader : { ...reader, signal: patience.signal }, patience);
			return;
		} catch (caught) {
			const error = patience?.isOver === true && reader.signal?.aborted !== true ? stalledError(reader, blob, caught) : caught;
			if (filled - before >= partWorthRetrying) backoff = new Backoff(reader.retry, reader.signal);
			await backoff.wait(error);
		} finally {
			patience?.end();
		}
	}

	async function attempt(reader: BlobReader, patience: Patience | undefined): Promise<void> {
		const response = await openAnywhere(reader, blob, offset + filled, length - filled, options.originFirst);
		if (options.onlyRanges === true && response.status === 200 && length !== blob.size) {
			response.body.destroy();
			throw new RangesIgnoredError(`${response.url.host} ignores ranges`);
		}
		for await (const chunk of bodyFrom(response, blob, offset + filled)) {
			const used = chunk.subarray(0, length - filled);
			filled += used.length;
			onBytes(used);
			options.onProgress?.(used.length);
			patience?.add(used.length);
			// A right answer is read to its end, so that its connection is used again; one with everything is not.
			if (filled === length && response.status === 200) return;
		}
		if (filled === length) return;
		throw cutError(response, offset + filled, offset + length);
	}
}

/** An answer with the blob from `offset` on, of the first host that has it. */
async function openAnywhere(reader: BlobReader, blob: BlobName, offset: number, length?: number, originFirst = false): Promise<HttpResponse> {
	let lastError: unknown;
	const origin = reader.endpoints.at(-1);
	for (const endpoint of originFirst ? [...reader.endpoints].reverse() : reader.endpoints) {
		if (endpoint !== origin && reader.resting.has(endpoint.host, blob.digest)) continue;
		try {
			return await openOn(reader, endpoint, blob, offset, length);
		} catch (error) {
			if (reader.signal?.aborted === true || !isRegistryError(error)) throw error;
			if (endpoint !== origin) reader.resting.add(endpoint.host, blob.digest);
			if (endpoint === origin || lastError === undefined) lastError = error;
		}
	}
	throw lastError;
}

async function openOn(reader: BlobReader, endpoint: Endpoint, blob: BlobName, offset: number, length?: number): Promise<HttpResponse> {
	const whole = offset === 0 && (length === undefined || length === blob.size);
	const headers = { 'accept-encoding': 'identity', ...(!whole && { range: rangeHeader(offset, length) }) };
	const response = await openDirect(reader, endpoint, blob.digest, headers) ?? await reader.open(endpoint, blob.digest, headers, reader.signal);
	if (response.status === 404) {
		await discardBody(response);
		throw new RegistryError(`${reader.name}@${blob.digest}: not found`, { ...asked(response.method, response.url), kind: 'not-found', status: 404 });
	}
	if (response.status !== 200 && response.status !== 206) throw await refusal('pull', response);
	if (response.url.host !== endpoint.host) reader.redirects.set(`${endpoint.host} ${blob.digest}`, response.url);
	return response;
}

/** Tries the place this blob was at last time; undefined when that is over. */
async function openDirect(reader: BlobReader, endpoint: Endpoint, digest: string, headers: OutgoingHttpHeaders): Promise<HttpResponse | undefined> {
	const key = `${endpoint.host} ${digest}`;
	const url = reader.redirects.get(key);
	if (url === undefined) return undefined;
	const response = await endpoint.exchangeDirect(url, headers, reader.signal);
	if (response.status === 200 || response.status === 206) return response;
	reader.redirects.delete(key);
	await discardBody(response);
	return undefined;
}

/** The chunks from `offset` on, whatever the answer starts with; an error when it ends early or goes too far. */
async function* bodyFrom(response: HttpResponse, blob: BlobName, offset: number): AsyncGenerator<Buffer> {
	let skip = 0;
	try {
		skip = bytesToSkip(response, offset, blob.size);
		const end = contentEnd(response, blob.size);
		let position = offset - skip;
		for await (const chunk of response.body as AsyncIterable<Buffer>) {
			position += chunk.length;
			if (end > 0 && position > end) throw tooLong(response, end);
			if (skip >= chunk.length) skip -= chunk.length;
			else {
				yield skip === 0 ? chunk : chunk.subarray(skip);
				skip = 0;
			}
		}
		if (position < end) throw cutError(response, position, end);
	} catch (error) {
		throw isConnectionError(error) ? networkError(response.method, response.url, error) : error;
	} finally {
		if (!response.body.complete || !response.body.readableEnded) response.body.destroy();
	}
}

/** Where the answer's body ought to end, in bytes of the blob; 0 when nobody knows. */
function contentEnd(response: HttpResponse, size: number | undefined): number {
	const end = /^bytes [0-9]+-([0-9]+)\//.exec(response.headers['content-range'] ?? '')?.[1];
	return response.status === 206 && end !== undefined ? Math.min(Number(end) + 1, size ?? Infinity) : size ?? 0;
}

function isConnectionError(error: unknown): boolean {
	return error instanceof Error && 'code' in error && !isRegistryError(error);
}

function stalledError(reader: BlobReader, { digest }: BlobName, cause: unknown): RegistryError {
	if (isRegistryError(cause)) return new RegistryError(`${cause.message}: too little came in time`, { ...cause.details, retryable: true, cause });
	return new RegistryError(`${reader.name}@${digest}: too little came in time`, {
		kind: 'network', registry: reader.endpoints.at(-1)?.host ?? '', method: 'GET', path: '', retryable: true, cause,
	});
}

function cutError(response: HttpResponse, position: number, end: number): RegistryError {
	return new RegistryError(`${response.method} ${response.url.origin}${response.url.pathname}: the answer ended at byte ${position} of ${end}`, {
		...asked(response.method, response.url), kind: 'network', retryable: true,
	});
}

function tooLong(response: HttpResponse, end: number): RegistryError {
	return new RegistryError(`${response.method} ${response.url.origin}${response.url.pathname}: more came than up to byte ${end}`, {
		...asked(response.method, response.url), kind: 'content',
	});
}
