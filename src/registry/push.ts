// Uploading: blobs (only those the registry lacks), manifests, and whole images with several uploads at once.
import { isNonDistributable, type Descriptor, type Document } from '../image/index.js';
import type { BlobSource } from './blob-source.js';
import { RegistryError, asked } from './errors.js';
import { refusal } from './refusal.js';
import type { ProgressCallback, Repository } from './repository.js';
import { retrying } from './retry.js';
import { discardBody } from './transport.js';
import { hasBlob, uploadBlob } from './upload.js';

export interface PushBlobOptions {
	readonly signal?: AbortSignal;
	/** Bytes sent so far; goes back when an upload has to start again. */
	readonly onProgress?: ProgressCallback;
	/** Paths of repositories on the same registry that may have the blob. */
	readonly mountFrom?: readonly string[];
}

export interface PushedBlob {
	/** It was there, it was mounted from that repository, or its bytes went over. */
	readonly how: 'existed' | 'mounted' | 'uploaded';
	readonly from?: string;
}

/** See `Repository.pushBlob`. */
export async function pushBlob(repository: Repository, descriptor: Descriptor, source: BlobSource, options: PushBlobOptions): Promise<PushedBlob> {
	if (source.size !== descriptor.size) throw new RangeError(`the source of ${descriptor.digest} has ${source.size} bytes, not ${descriptor.size}`);
	if (await hasBlob(repository, descriptor, options.signal)) return { how: 'existed' };
	for (const from of options.mountFrom ?? []) {
		if (from !== repository.path && await mountBlob(repository, descriptor, from, options.signal)) return { how: 'mounted', from };
	}
	await uploadBlob(repository, descriptor, source, options);
	return { how: 'uploaded' };
}

/** Asks the registry to take the blob over from another of its repositories; false when it does not. */
async function mountBlob(repository: Repository, descriptor: Descriptor, from: string, signal?: AbortSignal): Promise<boolean> {
	const endpoint = repository.origin;
	const query = new URLSearchParams({ mount: descriptor.digest, from });
	const response = await retrying(repository.retry, signal, () => endpoint.exchange({
		method: 'POST', target: `${repository.pathOn(endpoint, 'blobs', 'uploads')}/?${query}`, headers: { 'content-length': 0 },
		scopes: [repository.scopeOn(endpoint, 'pull', 'push'), `repository:${from}:pull`], ...(signal && { signal }),
	}));
	await discardBody(response);
	// A registry that does not want to has begun an upload instead; it ends by itself.
	return response.status === 201;
}

/** See `Repository.pushManifest`. */
export async function pushManifest(repository: Repository, document: Document, tag: string | undefined, signal?: AbortSignal): Promise<void> {
	const { descriptor, bytes } = document;
	await retrying(repository.retry, signal, async () => {
		const endpoint = repository.origin;
		const response = await endpoint.exchange({
			method: 'PUT', target: repository.pathOn(endpoint, 'manifests', tag ?? descriptor.digest),
			headers: { 'content-type': descriptor.mediaType }, body: bytes,
			scopes: [repository.scopeOn(endpoint, 'pull', 'push')], ...(signal && { signal }),
		});
		if (response.status !== 201 && response.status !== 200 && response.status !== 204) throw await refusal('push', response);
		await discardBody(response);
		const stored = response.headers['docker-content-digest'];
		if (stored !== undefined && stored !== descriptor.digest) {
			throw new RegistryError(`${repository.name}: pushed manifest ${descriptor.digest}, but the registry stored ${String(stored)}`, { ...asked(response.method, response.url), kind: 'content' });
		}
	});
}

/** A blob of an image and where its bytes are. */
export interface PushItem {
	readonly descriptor: Descriptor;
	readonly source: BlobSource;
	readonly mountFrom?: readonly string[];
}

export interface PushImageOptions {
	readonly signal?: AbortSignal;
	/** Uploads at the same time; BuildKit's 4 when not given. */
	readonly concurrency?: number;
	readonly onProgress?: (descriptor: Descriptor, bytes: number) => void;
	readonly onPushed?: (descriptor: Descriptor, pushed: PushedBlob) => void;
}

const defaultConcurrency = 4;

/**
 * Pushes blobs, several at once, then the manifests in their order (an index after what it lists), the last
 * of them under each tag. The first failure stops the rest.
 */
export async function pushImage(repository: Repository, blobs: readonly PushItem[], manifests: readonly Document[], tags: readonly string[], options: PushImageOptions = {}): Promise<void> {
	const stop = new AbortController();
	const signal = options.signal === undefined ? stop.signal : AbortSignal.any([options.signal, stop.signal]);
	const unique = [...new Map(blobs.filter(({ descriptor }) => !isNonDistributable(descriptor.mediaType)).map((item) => [item.descriptor.digest, item])).values()];
	const queue = unique.values();
	const worker = async () => {
		for (const { descriptor, source, mountFrom } of queue) {
			const onProgress = (bytes: number) => options.onProgress?.(descriptor, bytes);
			const pushed = await pushBlob(repository, descriptor, source, { signal, onProgress, ...(mountFrom && { mountFrom }) });
			options.onPushed?.(descriptor, pushed);
		}
	};
	const workers = Array.from({ length: Math.min(options.concurrency ?? defaultConcurrency, unique.length) }, worker);
	try {
		await Promise.all(workers);
	} catch (error) {
		stop.abort(error);
		await Promise.allSettled(workers);
		throw error;
	}
	for (const [i, document] of manifests.entries()) {
		const names = i === manifests.length - 1 && tags.length > 0 ? tags : [undefined];
		for (const tag of names) await pushManifest(repository, document, tag, options.signal);
	}
}
