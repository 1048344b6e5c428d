// Waits that end: for what the kernel, or a process that does not answer, may keep for ever.
import { setTimeout as sleep } from 'node:timers/promises';

/** As `work`, or an error after so many milliseconds: "WHAT for 30 s", as in "umount /mnt has not ended". `work` goes on. */
export async function within<T>(milliseconds: number, what: string, work: Promise<T>): Promise<T> {
	const done = new AbortController();
	const late = sleep(milliseconds, undefined, { signal: done.signal }).then(() => {
		throw new Error(`${what} for ${Math.ceil(milliseconds / 1000)} s`);
	});
	try {
		return await Promise.race([work, late]);
	} finally {
		done.abort();
		late.catch(() => undefined);
	}
}
