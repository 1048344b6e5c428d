// Reading parts of layers for a device that waits for them: patient, but never for ever.
import { setTimeout as sleep } from 'node:timers/promises';
import { RegistryClient, type RegistryOptions } from './client.js';
import type { CredentialProvider } from './credentials.js';
import { isRegistryError } from './errors.js';
import { Patience } from './patience.js';
import type { Repository } from './repository.js';
import { lazyRetryPolicy } from './retry.js';
import { allowManyListeners } from './signals.js';
import { SpooledBlobs } from './spool.js';
import { RangesIgnoredError } from './blob-read.js';

/** Where a blob is: plain JSON, as the device server is given it. */
export interface BlobLocation {
	/** Registry reference of the repository, e.g. `127.0.0.1:5000/base`. */
	readonly repository: string;
	/** Plain http or unverified https is allowed for this registry. */
	readonly insecure: boolean;
}

/** A part of a blob. */
export interface RangeRequest {
	readonly digest: string;
	/** Bytes of the whole blob. */
	readonly blobSize: number;
	readonly offset: number;
	readonly length: number;
	/** What came before was damaged: the registry itself is asked before its mirrors. */
	readonly again: boolean;
}

export interface LazyOptions extends RegistryOptions {
	/** Milliseconds without any progress after which a read fails. */
	readonly timeout?: number;
	/** For blobs of registries that know no ranges. */
	readonly spoolDirectory?: string;
}

type BytesListener = (bytes: Uint8Array) => void;

export const defaultFetchTimeout = 60_000;

/** Second requests under way at a time: a registry that is slow for all gets no more than these. */
const maxHedges = 4;
/** Milliseconds; a first byte that takes this many times as long as usual is asked for a second time. */
const hedgeFactor = 8;
const minHedgeDelay = 500;
const maxHedgeDelay = 5_000;

export class LazyReader {
	readonly #client: RegistryClient;
	readonly #timeout: number;
	readonly #spools: SpooledBlobs;
	/** Milliseconds to the first byte, a moving average. */
	#usualWait = 100;
	#hedges = 0;

	constructor({ timeout = defaultFetchTimeout, spoolDirectory = '/tmp', ...options }: LazyOptions = {}) {
		this.#timeout = timeout;
		this.#spools = new SpooledBlobs(spoolDirectory);
		this.#client = new RegistryClient({ retry: lazyRetryPolicy, ...options });
	}

	/**
	 * Exactly the bytes asked for, handed to `onBytes` in order, as they come. What may be gone the next time is tried
	 * again, from where it broke, until nothing has come for the timeout or `signal` fires; the error then says what
	 * failed, where, how often and for how long it was tried. `reader`: whose credentials are used; undefined: those of
	 * this reader's options.
	 */
	async readRange(location: BlobLocation, request: RangeRequest, onBytes: BytesListener, signal: AbortSignal, reader?: CredentialProvider): Promise<void> {
		const started = performance.now();
		const patience = new Patience(this.#timeout, signal);
		try {
			await this.#read(this.#client.as(reader).repository(location.repository, { insecure: location.insecure }), request, onBytes, patience);
		} catch (error) {
			signal.throwIfAborted();
			if (!isRegistryError(error)) throw error;
			throw error.withMessage(`${error.message} (tried for ${((performance.now() - started) / 1000).toFixed(1)} s)`);
		} finally {
			patience.end();
		}
	}

	async #read(repository: Repository, request: RangeRequest, onBytes: BytesListener, patience: Patience): Promise<void> {
		const { digest, blobSize, offset, length, again } = request;
		const spooled = this.#spools.get(repository, digest);
		if (spooled) return onBytes(await spooled.read(offset, length, patience));
		let came = 0;
		const deliver = (bytes: Uint8Array): void => {
			came += bytes.length;
			onBytes(bytes);
		};
		try {
			const parts = { onProgress: (bytes: number) => { patience.add(bytes); }, originFirst: again, onlyRanges: true, stallTimeout: this.#timeout / 4 };
			await this.#hedged((take, signal) => repository.streamRange({ digest, size: blobSize }, offset, length, take, { ...parts, signal }), deliver, patience.signal);
		} catch (error) {
			if (!(error instanceof RangesIgnoredError)) throw error;
			onBytes(await this.#spools.add(repository, { mediaType: '', digest, size: blobSize }).read(offset + came, length - came, patience));
		}
	}

	/** Asks a second time when the first byte takes unusually long; the first answer counts. */
	async #hedged(read: (onBytes: BytesListener, signal: AbortSignal) => Promise<void>, onBytes: BytesListener, signal: AbortSignal): Promise<void> {
		const started = performance.now();
		const racers: { stop: AbortController; result: Promise<void> }[] = [];
		let winner: AbortController | undefined;
		let over = false;
		const start = (): void => {
			const stop = new AbortController();
			const take = (bytes: Uint8Array): void => {
				if (winner === undefined && !over) {
					winner = stop;
					this.#usualWait += (performance.now() - started - this.#usualWait) / 8;
					for (const racer of racers) if (racer.stop !== stop) racer.stop.abort(new Error('another request was faster'));
				}
				if (winner === stop) onBytes(bytes);
			};
			allowManyListeners(signal);
			racers.push({ stop, result: read(take, AbortSignal.any([signal, stop.signal])) });
		};
		start();
		const timer = new AbortController();
		const hedge = sleep(this.#hedgeDelay(), undefined, { signal: timer.signal }).then(() => {
			if (winner !== undefined || this.#hedges >= maxHedges) return;
			this.#hedges++;
			start();
			racers.at(-1)?.result.finally(() => this.#hedges--).catch(() => undefined);
		}, () => undefined);
		try {
			const first = racers[0]?.result as Promise<void>;
			await Promise.race([first.then(() => undefined, () => undefined), hedge]);
			await Promise.any(racers.map(({ result }) => result)).catch((error: AggregateError) => {
				throw error.errors.find((one) => isRegistryError(one) || one instanceof RangesIgnoredError) ?? error.errors[0];
			});
		} finally {
			timer.abort();
			over = true;
			for (const { stop } of racers) stop.abort(new Error('another request was faster'));
		}
	}

	#hedgeDelay(): number {
		return Math.min(Math.max(this.#usualWait * hedgeFactor, minHedgeDelay), maxHedgeDelay);
	}

	close(): void {
		this.#client.close();
		this.#spools.close();
	}
}
