// Asking again: exponential backoff with jitter, as long as the registry wants, never for ever.
import { setTimeout as sleep } from 'node:timers/promises';
import { isRegistryError, type RegistryError } from './errors.js';
import { allowManyListeners, isTimeout } from './signals.js';

export interface RetryPolicy {
	/** Requests in all, the first included. */
	readonly attempts: number;
	/** Milliseconds before the second; doubles each time. */
	readonly firstDelay: number;
	/** Milliseconds; no single wait that we choose is longer. */
	readonly maxDelay: number;
	/** Milliseconds; all waits together, a registry's Retry-After included. */
	readonly maxTotal: number;
	/** How often a definite no (401, 404, ...) is asked again; 0 by default. */
	readonly refusals?: number;
	/** Whether a host that cannot be reached is waited for; an error at once by default. */
	readonly waitsForHost?: boolean;
}

/**
 * For reads that somebody waits for inside the kernel: as long as the signal lets us. The registry did answer
 * when the layer was attached, so no refusal is believed at once.
 */
export const lazyRetryPolicy: RetryPolicy = { attempts: Infinity, firstDelay: 200, maxDelay: 5_000, maxTotal: Infinity, refusals: 2, waitsForHost: true };

export const defaultRetryPolicy: RetryPolicy = { attempts: 6, firstDelay: 200, maxDelay: 5_000, maxTotal: 30_000 };

/** Nobody is there, or not yet again. */
const unreachable = new Set(['ECONNREFUSED', 'ENOTFOUND']);

/** The waits of one operation. */
export class Backoff {
	#attempt = 1;
	#refusals = 0;
	#waited = 0;
	#last: unknown;

	constructor(private readonly policy: RetryPolicy, private readonly signal?: AbortSignal) {}

	/** Waits before the next try; throws `error` when there is none. Cancelled by a time limit, it says what failed until then. */
	async wait(error: unknown): Promise<void> {
		this.#checkSignal(error);
		if (!isRegistryError(error) || this.#attempt >= this.policy.attempts || !this.#mayPass(error)) throw error;
		const delay = Math.max(this.#ownDelay(), error.retryAfter ?? 0);
		if (this.#waited + delay > this.policy.maxTotal) throw error;
		this.#attempt++;
		this.#last = error;
		this.#waited += delay;
		allowManyListeners(this.signal);
		await sleep(delay, undefined, this.signal === undefined ? {} : { signal: this.signal }).catch(() => this.#checkSignal(error));
	}

	#mayPass(error: RegistryError): boolean {
		if (error.retryable) return true;
		const { code } = (error.cause ?? {}) as NodeJS.ErrnoException;
		if (code !== undefined && unreachable.has(code)) return this.policy.waitsForHost === true;
		return this.#refusals++ < (this.policy.refusals ?? 0);
	}

	#checkSignal(error: unknown): void {
		if (this.signal?.aborted !== true) return;
		// The request that was under way when time ran out tells less than the one that failed before it.
		const told = this.#last ?? error;
		if (!isTimeout(this.signal) || !isRegistryError(told)) throw this.signal.reason;
		throw told.withMessage(`${told.message} (given up after ${this.#attempt} ${this.#attempt === 1 ? 'attempt' : 'attempts'}: out of time)`);
	}

	/** Half fixed, half random: clients that failed together do not come back together. */
	#ownDelay(): number {
		const full = Math.min(this.policy.firstDelay * 2 ** (this.#attempt - 1), this.policy.maxDelay);
		return full / 2 + Math.random() * full / 2;
	}
}

/** Runs `body` until it succeeds, fails for good, or the policy is used up. */
export async function retrying<T>(policy: RetryPolicy, signal: AbortSignal | undefined, body: () => Promise<T>): Promise<T> {
	const backoff = new Backoff(policy, signal);
	for (;;) {
		try {
			return await body();
		} catch (error) {
			await backoff.wait(error);
		}
	}
}
