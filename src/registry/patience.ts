// A time limit that starts anew whenever something comes.
import { allowManyListeners } from './signals.js';

/** Bytes that count as progress: less than this in a whole timeout is as good as nothing. */
const progress = 16 * 1024;

export class Patience {
	/** Fires as a time limit does, or when the one it was made from fires. */
	readonly signal: AbortSignal;
	readonly #limit = new AbortController();
	#timer: NodeJS.Timeout;
	#bytes = 0;

	/** `timeout`: milliseconds. */
	constructor(private readonly timeout: number, outer?: AbortSignal) {
		allowManyListeners(outer);
		this.signal = outer === undefined ? this.#limit.signal : AbortSignal.any([outer, this.#limit.signal]);
		this.#timer = this.#start();
	}

	#start(): NodeJS.Timeout {
		return setTimeout(() => { this.#limit.abort(new DOMException('nothing came in time', 'TimeoutError')); }, this.timeout);
	}

	/** So many bytes have come. */
	add(bytes: number): void {
		this.#bytes += bytes;
		if (this.#bytes < progress) return;
		this.#bytes = 0;
		clearTimeout(this.#timer);
		this.#timer = this.#start();
	}

	/** Whether the time has run out. */
	get isOver(): boolean {
		return this.#limit.signal.aborted;
	}

	end(): void {
		clearTimeout(this.#timer);
	}
}
