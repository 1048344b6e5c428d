// Content-addressed files: `blobs/sha256/<hex>`. A blob appears under its name complete and verified, or not
// at all; the file system alone says what is there.
import { createReadStream } from 'node:fs';
import { mkdir, open, readFile, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { digestAlgorithm, digestHex, emptyDigest, validateDigest, Verifier } from '../image/index.js';
import { ContentMismatchError, isErrno } from './errors.js';
import type { Protection } from './leases.js';
import { blobRef } from './refs.js';

export interface BlobInfo {
	readonly digest: string;
	/** Bytes. */
	readonly size: number;
}

export class Blobs {
	#temporaries = 0;

	/** `temporaryDirectory` is this process' own, on the same file system. */
	constructor(private readonly directory: string, private readonly temporaryDirectory: () => Promise<string>) {}

	/** Where a blob is or would be. Throws on what is no valid digest. */
	path(digest: string): string {
		validateDigest(digest);
		return path.join(this.directory, digestAlgorithm(digest), digestHex(digest));
	}

	/** The size of a blob in bytes, undefined when it is not there. */
	async size(digest: string): Promise<number | undefined> {
		try {
			const { size } = await stat(this.path(digest));
			// After a power failure a file may have its name and no data yet.
			return size === 0 && digest !== emptyDigest ? undefined : size;
		} catch (error) {
			if (isErrno(error, 'ENOENT')) return undefined;
			throw error;
		}
	}

	/** Whether the blob is there, with the right size where that is known. */
	async has(digest: string, size?: number): Promise<boolean> {
		const actual = await this.size(digest);
		return actual !== undefined && (size === undefined || size === actual);
	}

	/** The whole content, undefined when it is not there. For documents, not for layers. */
	async read(digest: string): Promise<Buffer | undefined> {
		if (await this.size(digest) === undefined) return undefined;
		try {
			return await readFile(this.path(digest));
		} catch (error) {
			if (isErrno(error, 'ENOENT')) return undefined;
			throw error;
		}
	}

	/** The content from `offset` bytes on, as a stream. */
	stream(digest: string, offset = 0): Readable {
		return createReadStream(this.path(digest), { start: offset, highWaterMark: 1024 * 1024 });
	}

	/** A file name in this process' own directory, for something that `adopt` will take in. */
	async temporaryPath(): Promise<string> {
		return path.join(await this.temporaryDirectory(), `blob-${this.#temporaries++}`);
	}

	/** Stores bytes. With `expected` they must have that digest. */
	async put(bytes: Uint8Array, lease: Protection, expected?: string): Promise<BlobInfo> {
		const writer = await this.create(lease, { ...(expected !== undefined && { digest: expected }), size: bytes.length });
		try {
			await writer.write(bytes);
			return await writer.commit();
		} finally {
			await writer.abort();
		}
	}

	/** Starts writing a blob; ends with `commit` or `abort`. */
	async create(lease: Protection, expected: { readonly digest?: string; readonly size?: number } = {}): Promise<BlobWriter> {
		const temporary = await this.temporaryPath();
		return new BlobWriter(this, lease, temporary, await open(temporary, 'wx'), expected);
	}

	/**
	 * Takes over a finished file from the same file system. The caller vouches for its digest (native code
	 * hashes what it writes).
	 */
	async adopt(file: string, info: BlobInfo, lease: Protection): Promise<BlobInfo> {
		const { size } = await stat(file);
		if (size !== info.size) throw new ContentMismatchError(`${info.size} bytes`, `${size} bytes`, `blob ${info.digest}`);
		const target = this.path(info.digest);
		// First protected, then visible: the collector never sees it unprotected.
		await lease.protect([blobRef(info.digest)]);
		try {
			await rename(file, target);
		} catch (error) {
			if (!isErrno(error, 'ENOENT')) throw error;
			await mkdir(path.dirname(target), { recursive: true, mode: 0o700 });
			await rename(file, target);
		}
		return info;
	}

	async delete(digest: string): Promise<void> {
		await rm(this.path(digest), { force: true });
	}
}

/** A blob being written: hashed on the way, renamed into place when it is complete and right. */
export class BlobWriter {
	readonly #verifier: Verifier;
	#open = true;

	constructor(
		private readonly blobs: Blobs, private readonly lease: Protection, private readonly temporary: string,
		private readonly file: FileHandle, private readonly expected: { readonly digest?: string; readonly size?: number },
	) {
		this.#verifier = new Verifier(expected.digest ?? emptyDigest);
	}

	/** Bytes written so far. */
	get size(): number {
		return this.#verifier.size;
	}

	async write(chunk: Uint8Array): Promise<void> {
		this.#verifier.update(chunk);
		const limit = this.expected.size;
		if (limit !== undefined && this.size > limit) {
			throw new ContentMismatchError(`${limit} bytes`, 'more', `blob ${this.expected.digest ?? ''}`.trim());
		}
		for (let done = 0; done < chunk.length;) done += (await this.file.write(chunk, done)).bytesWritten;
	}

	/** Makes the blob visible. Throws `ContentMismatchError`, and keeps nothing, when it is not the expected one. */
	async commit(): Promise<BlobInfo> {
		const { size } = this;
		const digest = this.#verifier.finish();
		const what = `blob ${this.expected.digest ?? digest}`;
		await this.#close();
		if (this.expected.size !== undefined && size !== this.expected.size) {
			throw new ContentMismatchError(`${this.expected.size} bytes`, `${size} bytes`, what);
		}
		if (this.expected.digest !== undefined && digest !== this.expected.digest) {
			throw new ContentMismatchError(this.expected.digest, digest, what);
		}
		return this.blobs.adopt(this.temporary, { digest, size }, this.lease);
	}

	/** Gives up what was not committed; after a commit it does nothing. */
	async abort(): Promise<void> {
		await this.#close();
		await rm(this.temporary, { force: true });
	}

	async #close(): Promise<void> {
		if (!this.#open) return;
		this.#open = false;
		await this.file.close();
	}
}
