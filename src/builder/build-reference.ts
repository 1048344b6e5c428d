// A definition a frontend has handed in: solved when its result is wanted, and once.
import type { FileStat, Reference } from '../../frontend/index.js';
import type { Definition } from '../llb/index.js';
import { toSnapshot, type Worker } from '../ops/index.js';
import type { Snapshot } from '../snapshot/index.js';
import type { Result } from '../solver/index.js';
import { fileReference } from './reference.js';

/** What a reference needs of the build it belongs to. */
export interface ReferenceHost {
	readonly worker: Worker;
	readonly signal: AbortSignal;
	/** Solves; an error of a vertex has the places in the sources it comes from. */
	run(): Promise<Result>;
}

export class BuildReference implements Reference {
	#result: Promise<Result> | undefined;

	constructor(readonly definition: Definition, private readonly host: ReferenceHost) {}

	/** Runs what has to run. */
	result(): Promise<Result> {
		return (this.#result ??= this.host.run());
	}

	/** The result as layers: a directory of the client becomes one. */
	async snapshot(): Promise<Snapshot> {
		return toSnapshot(this.host.worker, await this.result(), this.host.signal);
	}

	async readFile(path: string, range?: { offset: number; length: number }): Promise<Uint8Array> {
		return (await this.#files()).readFile(path, range);
	}

	async readDir(path: string, includePattern?: string): Promise<readonly FileStat[]> {
		return (await this.#files()).readDir(path, includePattern);
	}

	async statFile(path: string): Promise<FileStat> {
		return (await this.#files()).statFile(path);
	}

	async #files(): Promise<Reference> {
		return fileReference(this.host.worker, await this.result(), this.host.signal);
	}
}
