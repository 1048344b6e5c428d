// One repository of one registry, with its mirrors: reads manifests and blobs.
import type { OutgoingHttpHeaders } from 'node:http';
import type { Readable } from 'node:stream';
import {
	detectMediaType, digestOf, isDigest, isIndexType, isManifestType, maxManifestSize, mediaTypes, validateDigest, Verifier,
	type Descriptor, type Document,
} from '../image/index.js';
import { readBlob, readRange, RedirectCache, RestingMirrors, type BlobName, type BlobReader, type RangeOptions, streamRange } from './blob-read.js';
import { downloadBlob } from './download.js';
import type { Endpoint, EndpointRequest } from './endpoint.js';
import { asked, isRegistryError, RegistryError } from './errors.js';
import { refusal } from './refusal.js';
import { pushBlob, pushManifest, type PushBlobOptions, type PushedBlob } from './push.js';
import type { BlobSource } from './blob-source.js';
import { retrying, type RetryPolicy } from './retry.js';
import { repositoryScope } from './scopes.js';
import { hasBlob } from './upload.js';
import { discardBody, readBody, streamOf, type HttpResponse } from './transport.js';

/** Bytes fetched so far for this blob. */
export type ProgressCallback = (bytes: number) => void;

export interface ReadOptions {
	readonly signal?: AbortSignal;
	readonly onProgress?: ProgressCallback;
}

const accepted = [mediaTypes.dockerManifest, mediaTypes.dockerIndex, mediaTypes.ociManifest, mediaTypes.ociIndex, '*/*'].join(', ');
/** A config or other small document; more than that is not read into memory. */
const maxDocumentSize = 32 * 1024 * 1024;

export class Repository {
	readonly #redirects = new RedirectCache();
	readonly #resting = new RestingMirrors();

	/** `endpoints`: mirrors first, the registry itself last. */
	constructor(readonly domain: string, readonly path: string, private readonly endpoints: readonly Endpoint[], readonly retry: RetryPolicy) {}

	/** `domain/path`. */
	get name(): string {
		return `${this.domain}/${this.path}`;
	}

	/** The registry itself: where pushes go. */
	get origin(): Endpoint {
		return this.endpoints.at(-1) as Endpoint;
	}

	/** A path on a host, below this repository. */
	pathOn(endpoint: Endpoint, ...parts: readonly string[]): string {
		const namespace = endpoint.config.mirror ? `?ns=${encodeURIComponent(this.domain)}` : '';
		return `/v2${endpoint.config.pathPrefix}/${this.path}/${parts.join('/')}${namespace}`;
	}

	/** The token scope for this repository on a host. */
	scopeOn(endpoint: Endpoint, ...actions: readonly ('pull' | 'push')[]): string {
		return repositoryScope(`${endpoint.config.pathPrefix}/${this.path}`.slice(1), ...actions);
	}

	/**
	 * Does something on the first host that can: mirrors get one try each, the registry itself as many as the
	 * policy allows.
	 */
	async onAnyHost<T>(signal: AbortSignal | undefined, body: (endpoint: Endpoint) => Promise<T>): Promise<T> {
		const failures: string[] = [];
		for (const mirror of this.endpoints.slice(0, -1)) {
			try {
				return await body(mirror);
			} catch (error) {
				if (signal?.aborted === true) throw error;
				failures.push(`${mirror.host}: ${(error as Error).message}`);
			}
		}
		try {
			return await retrying(this.retry, signal, () => body(this.origin));
		} catch (error) {
			if (failures.length === 0 || !isRegistryError(error)) throw error;
			throw error.withMessage(`${error.message} (mirrors failed too: ${failures.join('; ')})`);
		}
	}

	/** What a tag or digest names. `label` is how errors call it. */
	async head(tagOrDigest: string, label = `${this.name}:${tagOrDigest}`, signal?: AbortSignal): Promise<Descriptor> {
		if (tagOrDigest.includes(':')) validateDigest(tagOrDigest);
		return this.onAnyHost(signal, async (endpoint) => {
			const response = await this.#manifest(endpoint, 'HEAD', tagOrDigest, accepted, signal);
			await discardBody(response);
			const descriptor = response.status === 200 ? describe(response, tagOrDigest) : undefined;
			if (descriptor !== undefined) return descriptor;
			if (response.status === 404) throw notFound(response, label);
			// The answer to a HEAD has no body: a GET tells why, or gives what the head left out.
			return (await this.#getManifest(endpoint, tagOrDigest, accepted, label, signal)).descriptor;
		});
	}

	/** A manifest or index by its descriptor: size and digest are right, or it is an error. */
	async fetchManifest(descriptor: Descriptor, options: ReadOptions = {}): Promise<Uint8Array> {
		if (descriptor.size > maxManifestSize) {
			throw new RegistryError(`rejecting ${descriptor.size} byte manifest for ${this.name}@${descriptor.digest}`, { kind: 'content', registry: this.domain, method: 'GET', path: '' });
		}
		const accept = descriptor.mediaType === '' ? accepted : `${descriptor.mediaType}, */*`;
		const label = `${this.name}@${descriptor.digest}`;
		return this.onAnyHost(options.signal, async (endpoint) => {
			const { bytes } = await this.#getManifest(endpoint, descriptor.digest, accept, label, options.signal);
			return checkContent(bytes, descriptor, this.origin.host, label);
		});
	}

	/** The manifest a tag or digest names, in one request. */
	async getManifest(tagOrDigest: string, label = `${this.name}:${tagOrDigest}`, signal?: AbortSignal): Promise<Document> {
		return this.onAnyHost(signal, (endpoint) => this.#getManifest(endpoint, tagOrDigest, accepted, label, signal));
	}

	#manifest(endpoint: Endpoint, method: string, tagOrDigest: string, accept: string, signal?: AbortSignal): Promise<HttpResponse> {
		return endpoint.exchange(this.#request(endpoint, method, ['manifests', tagOrDigest], { accept }, signal));
	}

	async #getManifest(endpoint: Endpoint, tagOrDigest: string, accept: string, label: string, signal?: AbortSignal): Promise<Document> {
		const response = await this.#manifest(endpoint, 'GET', tagOrDigest, accept, signal);
		if (response.status === 404) {
			await discardBody(response);
			throw notFound(response, label);
		}
		if (response.status !== 200) throw await refusal('pull', response);
		const bytes = await readBody(response, maxManifestSize);
		const digest = isDigest(tagOrDigest) ? tagOrDigest : digestOf(bytes);
		const declared = mediaTypeOf(response);
		const mediaType = isManifestType(declared) || isIndexType(declared) ? declared : detectMediaType(bytes) ?? declared;
		const descriptor = { mediaType, digest, size: bytes.length };
		checkContent(bytes, descriptor, endpoint.host, label);
		return { descriptor, bytes };
	}

	/** A small blob (an image config) in memory, verified. */
	async fetchDocument(descriptor: Descriptor, options: ReadOptions = {}): Promise<Uint8Array> {
		if (descriptor.size > maxDocumentSize) {
			throw new RegistryError(`${this.name}@${descriptor.digest}: ${descriptor.size} bytes is too big for a ${descriptor.mediaType}`, { kind: 'content', registry: this.domain, method: 'GET', path: '' });
		}
		const chunks: Uint8Array[] = [];
		for await (const chunk of readBlob(this.#reader(options.signal), descriptor, 0, options.onProgress)) chunks.push(chunk);
		return Buffer.concat(chunks);
	}

	/** A blob as a stream that survives cut connections and fails at its end when the digest is wrong. */
	openBlob(descriptor: Descriptor, options: ReadOptions = {}): Readable {
		return streamOf(this.readBlob(descriptor, options));
	}

	/** As `openBlob`, as chunks; from `offset` on there is no digest to check. */
	readBlob(descriptor: Descriptor, options: ReadOptions & { readonly offset?: number } = {}): AsyncGenerator<Uint8Array> {
		return readBlob(this.#reader(options.signal), descriptor, options.offset ?? 0, options.onProgress);
	}

	/**
	 * Exactly `length` bytes of a blob from `offset`, for lazy reading. Not verified: a part has no digest.
	 * A server that ignores ranges is read up to the end of the part, unless `onlyRanges` says otherwise.
	 */
	readRange(blob: BlobName, offset: number, length: number, options: RangeOptions & { readonly signal?: AbortSignal } = {}): Promise<Buffer> {
		return readRange(this.#reader(options.signal), blob, offset, length, options);
	}

	/** The same, handed to `onBytes` in order, as it comes. */
	streamRange(blob: BlobName, offset: number, length: number, onBytes: (bytes: Uint8Array) => void, options: RangeOptions & { readonly signal?: AbortSignal } = {}): Promise<void> {
		return streamRange(this.#reader(options.signal), blob, offset, length, onBytes, options);
	}

	/**
	 * Downloads a blob into a file. What the file already holds is taken as its beginning, so an interrupted
	 * download goes on. In the end the digest is right, or the file is gone and it is an error.
	 */
	download(descriptor: Descriptor, file: string, options: ReadOptions = {}): Promise<void> {
		return downloadBlob(this.#reader(options.signal), descriptor, file, options.onProgress);
	}

	/** Whether the registry has this blob. */
	hasBlob(descriptor: Descriptor, signal?: AbortSignal): Promise<boolean> {
		return hasBlob(this, descriptor, signal);
	}

	/** Bytes of a blob that is only known by its digest. */
	async blobSize(digest: string, signal?: AbortSignal): Promise<number> {
		const label = `${this.name}@${digest}`;
		return this.onAnyHost(signal, async (endpoint) => {
			const response = await endpoint.exchange(this.#request(endpoint, 'HEAD', ['blobs', digest], { 'accept-encoding': 'identity' }, signal));
			await discardBody(response);
			if (response.status === 404) throw notFound(response, label);
			if (response.status !== 200) throw await refusal('pull', response);
			const size = Number(response.headers['content-length'] ?? '');
			if (response.headers['content-length'] !== undefined && Number.isSafeInteger(size)) return size;
			throw new RegistryError(`${label}: the registry does not say how large it is`, { ...asked(response.method, response.url), kind: 'protocol' });
		});
	}

	/** Uploads a blob unless it is there already or can be had from a neighbour repository. */
	pushBlob(descriptor: Descriptor, source: BlobSource, options: PushBlobOptions = {}): Promise<PushedBlob> {
		return pushBlob(this, descriptor, source, options);
	}

	/** Uploads a manifest or index under a tag, or under its digest. */
	pushManifest(document: Document, tag?: string, signal?: AbortSignal): Promise<void> {
		return pushManifest(this, document, tag, signal);
	}

	/** Brings a blob over from another repository: by mounting it on the same registry, else through us. */
	copyBlob(from: Repository, descriptor: Descriptor, options: PushBlobOptions = {}): Promise<PushedBlob> {
		const source: BlobSource = {
			size: descriptor.size,
			open: (offset) => from.readBlob(descriptor, { offset, ...(options.signal && { signal: options.signal }) }),
		};
		const mountFrom = from.domain === this.domain ? [from.path, ...options.mountFrom ?? []] : options.mountFrom ?? [];
		return pushBlob(this, descriptor, source, { ...options, mountFrom });
	}

	#request(endpoint: Endpoint, method: string, parts: readonly string[], headers: OutgoingHttpHeaders, signal?: AbortSignal): EndpointRequest {
		return { method, target: this.pathOn(endpoint, ...parts), headers, scopes: [this.scopeOn(endpoint, 'pull')], ...(signal && { signal }) };
	}

	#reader(signal: AbortSignal | undefined): BlobReader {
		return {
			name: this.name, retry: this.retry, redirects: this.#redirects, resting: this.#resting, ...(signal && { signal }),
			open: (endpoint, digest, headers, signal) => endpoint.exchange(this.#request(endpoint, 'GET', ['blobs', digest], headers, signal)),
			endpoints: this.endpoints,
		};
	}
}

/** The descriptor in the head of an answer; undefined when something is missing or not usable. */
function describe(response: HttpResponse, tagOrDigest: string): Descriptor | undefined {
	const digest = isDigest(tagOrDigest) ? tagOrDigest : response.headers['docker-content-digest'];
	const size = response.headers['content-length'];
	const mediaType = mediaTypeOf(response);
	if (typeof digest !== 'string' || !isDigest(digest) || size === undefined || !/^[0-9]+$/.test(size)) return undefined;
	if (!isManifestType(mediaType) && !isIndexType(mediaType)) return undefined;
	return { mediaType, digest, size: Number(size) };
}

function mediaTypeOf(response: HttpResponse): string {
	return (response.headers['content-type'] ?? '').split(';')[0]?.trim() ?? '';
}

function notFound(response: HttpResponse, label: string): RegistryError {
	return new RegistryError(`${label}: not found`, { ...asked(response.method, response.url), kind: 'not-found', status: 404 });
}

function checkContent(bytes: Uint8Array, descriptor: Descriptor, host: string, label: string): Uint8Array {
	const verifier = new Verifier(descriptor.digest);
	verifier.update(bytes);
	const actual = verifier.finish();
	if (bytes.length === descriptor.size && actual === descriptor.digest) return bytes;
	throw new RegistryError(`${label}: ${host} sent other content: ${bytes.length} bytes with digest ${actual}, expected ${descriptor.size} bytes`, {
		kind: 'content', registry: host, method: 'GET', path: '',
	});
}
