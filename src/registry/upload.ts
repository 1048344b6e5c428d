// One blob upload: a session on the registry, the bytes in one request, and after a failure the rest of them
// from where the registry says it is (distribution spec, "Pushing blobs").
import type { Descriptor } from '../image/index.js';
import type { BlobSource } from './blob-source.js';
import { asked, isRegistryError, RegistryError } from './errors.js';
import type { PushBlobOptions } from './push.js';
import { refusal } from './refusal.js';
import type { Repository } from './repository.js';
import { Backoff, retrying } from './retry.js';
import { discardBody, type HttpResponse, type RequestBody } from './transport.js';

/** Smaller blobs are not worth asking how much of them has arrived. */
const worthResuming = 1024 * 1024;
/** Milliseconds: a registry may have to copy the whole blob before it answers. */
const commitTimeout = 300_000;
const octets = 'application/octet-stream';

/** Whether the registry has the blob. */
export async function hasBlob(repository: Repository, descriptor: Descriptor, signal?: AbortSignal): Promise<boolean> {
	return retrying(repository.retry, signal, async () => {
		const { origin } = repository;
		const response = await origin.exchange({
			method: 'HEAD', target: repository.pathOn(origin, 'blobs', descriptor.digest),
			scopes: [repository.scopeOn(origin, 'pull', 'push')], ...(signal && { signal }),
		});
		if (response.status !== 200 && response.status !== 404) throw await refusal('push', response);
		await discardBody(response);
		return response.status === 200;
	});
}

/** Uploads the blob; retries, and resumes where the registry can. */
export async function uploadBlob(repository: Repository, descriptor: Descriptor, source: BlobSource, options: PushBlobOptions): Promise<void> {
	const upload = new Upload(repository, descriptor, source, options);
	const backoff = new Backoff(repository.retry, options.signal);
	for (;;) {
		try {
			return await upload.attempt();
		} catch (error) {
			await backoff.wait(error);
		}
	}
}

class Upload {
	#location: URL | undefined;

	constructor(
		private readonly repository: Repository, private readonly descriptor: Descriptor,
		private readonly source: BlobSource, private readonly options: PushBlobOptions,
	) {}

	async attempt(): Promise<void> {
		let offset = 0;
		if (this.#location !== undefined) {
			const arrived = await this.#arrived();
			// The upload is over: perhaps it was complete, and only the answer got lost.
			if (arrived === undefined && await hasBlob(this.repository, this.descriptor, this.options.signal)) return;
			if (arrived === undefined) this.#location = undefined;
			offset = arrived ?? 0;
		}
		if (this.#location === undefined) await this.#begin();
		this.options.onProgress?.(offset);
		try {
			if (offset > 0 && offset < this.source.size) await this.#append(offset);
			await this.#commit(offset > 0 ? new Uint8Array() : this.#body(0));
		} catch (error) {
			// Only a broken connection or a busy registry leaves an upload that can go on.
			if (!isRegistryError(error, 'network', 'server', 'rate-limited') || this.source.size < worthResuming) this.#location = undefined;
			throw error;
		}
	}

	async #begin(): Promise<void> {
		const { origin } = this.repository;
		const response = await this.#exchange('POST', `${this.repository.pathOn(origin, 'blobs', 'uploads')}/`, { 'content-length': 0 });
		if (response.status !== 202 && response.status !== 200) throw await refusal('push', response);
		await discardBody(response);
		this.#location = locationOf(response);
	}

	/** How many bytes the registry has of the upload in progress; undefined when it does not know it any more. */
	async #arrived(): Promise<number | undefined> {
		const response = await this.#exchange('GET', this.#location as URL, {});
		await discardBody(response);
		if (response.status !== 204 && response.status !== 202) return undefined;
		const end = /^(?:bytes=)?0-([0-9]+)$/.exec(response.headers['range'] ?? '')?.[1];
		// "0-0" is what registries say for nothing at all; one byte is no loss.
		const size = end === undefined || end === '0' ? 0 : Number(end) + 1;
		if (size === 0 || size > this.source.size) return undefined;
		this.#location = locationOf(response);
		return size;
	}

	async #append(offset: number): Promise<void> {
		const response = await this.#exchange('PATCH', this.#location as URL, {
			'content-type': octets, 'content-range': `${offset}-${this.source.size - 1}`,
		}, this.#body(offset));
		if (response.status !== 202 && response.status !== 204) throw await refusal('push', response);
		await discardBody(response);
		this.#location = locationOf(response);
	}

	async #commit(body: RequestBody): Promise<void> {
		const url = new URL((this.#location as URL).href);
		url.searchParams.set('digest', this.descriptor.digest);
		const response = await this.#exchange('PUT', url, { 'content-type': octets }, body);
		if (response.status !== 201 && response.status !== 204 && response.status !== 200) throw await refusal('push', response);
		await discardBody(response);
	}

	#body(offset: number): RequestBody {
		const { source } = this;
		return { size: source.size - offset, open: () => source.open(offset) };
	}

	#exchange(method: string, target: string | URL, headers: Record<string, string | number>, body?: RequestBody): Promise<HttpResponse> {
		const { origin } = this.repository;
		const { signal, onProgress } = this.options;
		const start = body === undefined || body instanceof Uint8Array ? 0 : this.source.size - body.size;
		return origin.exchange({
			method, target, headers, scopes: [this.repository.scopeOn(origin, 'pull', 'push')], idleTimeout: commitTimeout,
			...(body && { body }), ...(signal && { signal }),
			...(onProgress && body && !(body instanceof Uint8Array) && { onSent: (bytes: number) => onProgress(start + bytes) }),
		});
	}
}

/** Where the upload goes on: relative locations are relative to the request. */
function locationOf(response: HttpResponse): URL {
	const { location } = response.headers;
	if (location !== undefined && URL.canParse(location, response.url.href)) return new URL(location, response.url);
	throw new RegistryError(`${response.method} ${response.url.origin}${response.url.pathname}: the registry named no upload location`, { ...asked(response.method, response.url), kind: 'protocol' });
}
