// Cancellation: what an AbortSignal means and how to wait under one.
import { setMaxListeners } from 'node:events';

/** One signal stops all requests of a build; Node takes more than ten listeners for a leak and warns. */
export function allowManyListeners(signal: AbortSignal | undefined): void {
	if (signal !== undefined) setMaxListeners(0, signal);
}

/** Whether a signal was fired by a time limit, not by somebody who no longer wants the result. */
export function isTimeout(signal: AbortSignal): boolean {
	return signal.aborted && (signal.reason as Error | undefined)?.name === 'TimeoutError';
}

/** The result of work that is shared with others; when the signal fires first, only we stop waiting. */
export async function untilAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
	if (signal === undefined) return work;
	signal.throwIfAborted();
	allowManyListeners(signal);
	let stop = () => {};
	const aborted = new Promise<never>((_, reject) => {
		stop = () => reject(signal.reason as Error);
		signal.addEventListener('abort', stop, { once: true });
	});
	try {
		return await Promise.race([work, aborted]);
	} finally {
		signal.removeEventListener('abort', stop);
	}
}
