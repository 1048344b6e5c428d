// Blobs of registries that ignore ranges: streamed once, whole, into a nameless file, and read from there.
import { open, rm, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { randomUUID } from 'node:crypto';
import type { Descriptor } from '../image/index.js';
import type { Patience } from './patience.js';
import type { Repository } from './repository.js';
import { untilAborted } from './signals.js';

/** One blob on its way into its file. */
class Spool {
	readonly #stop = new AbortController();
	readonly #file: Promise<FileHandle>;
	readonly #done: Promise<void>;
	#waiting: (() => void)[] = [];
	#position = 0;
	#failure: { readonly error: unknown } | undefined;

	constructor(repository: Repository, descriptor: Descriptor, directory: string) {
		this.#file = openNameless(directory);
		this.#done = this.#fill(repository, descriptor).then(
			() => { this.#arrived(descriptor.size); },
			(error: unknown) => {
				this.#failure = { error };
				this.#arrived(this.#position);
			},
		);
	}

	get failed(): boolean {
		return this.#failure !== undefined;
	}

	async #fill(repository: Repository, descriptor: Descriptor): Promise<void> {
		const file = await this.#file;
		let position = 0;
		for await (const chunk of repository.readBlob(descriptor, { signal: this.#stop.signal })) {
			await file.write(chunk, 0, chunk.length, position);
			position += chunk.length;
			// The last bytes wait for the digest, which readBlob compares at the end.
			if (position < descriptor.size) this.#arrived(position);
		}
	}

	#arrived(position: number): void {
		this.#position = position;
		const waiting = this.#waiting;
		this.#waiting = [];
		for (const wake of waiting) wake();
	}

	/** Waits until the bytes have passed; `patience` does not end as long as anything comes. */
	async read(offset: number, length: number, patience: Patience): Promise<Uint8Array> {
		while (this.#position < offset + length) {
			if (this.#failure) throw this.#failure.error;
			const before = this.#position;
			await untilAborted(new Promise<void>((resolve) => { this.#waiting.push(resolve); }), patience.signal);
			patience.add(this.#position - before);
		}
		const bytes = Buffer.allocUnsafe(length);
		await (await this.#file).read(bytes, 0, length, offset);
		return bytes;
	}

	async close(): Promise<void> {
		this.#stop.abort(new Error('the reader is closed'));
		await this.#done;
		await this.#file.then((file) => file.close(), () => undefined);
	}
}

/** Gone with this process, whatever ends it. */
async function openNameless(directory: string): Promise<FileHandle> {
	const name = path.join(directory, `spool-${randomUUID()}`);
	const file = await open(name, 'wx+', 0o600);
	await rm(name);
	return file;
}

export class SpooledBlobs {
	readonly #spools = new Map<string, Spool>();

	constructor(private readonly directory: string) {}

	get({ name }: Repository, digest: string): Spool | undefined {
		const spool = this.#spools.get(`${name}@${digest}`);
		return spool?.failed === true ? undefined : spool;
	}

	/** Streams a blob, unless that is under way. One that failed is tried again. */
	add(repository: Repository, descriptor: Descriptor): Spool {
		const present = this.get(repository, descriptor.digest);
		if (present) return present;
		const spool = new Spool(repository, descriptor, this.directory);
		void this.#spools.get(`${repository.name}@${descriptor.digest}`)?.close();
		this.#spools.set(`${repository.name}@${descriptor.digest}`, spool);
		return spool;
	}

	close(): void {
		for (const spool of this.#spools.values()) void spool.close();
		this.#spools.clear();
	}
}
