// Watches the disks that a step works on: shows what it reads from registries, and ends it when a disk fails.
import type { WritableMount } from '../snapshot/index.js';
import type { StatusReporter, VertexReporter } from '../solver/index.js';

const intervalMs = 300;

/** Whatever can tell that its disk failed. */
export interface Watched {
	onFault(listener: (error: Error) => void): () => void;
}

/**
 * Runs `work` on a mount; bytes fetched for it meanwhile appear as a line below the step, one a layer. When
 * this disk or one of `others` fails, `work` is cancelled, and the disk's error is the step's: programs go on
 * after an I/O error as if nothing were amiss.
 */
export async function watchingDisks<T>(
	mount: WritableMount, others: readonly Watched[], { reporter, signal }: { readonly reporter: VertexReporter; readonly signal: AbortSignal },
	work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
	const failed = new AbortController();
	const stops = [mount, ...others].map((disk) => disk.onFault((error) => { failed.abort(error); }));
	try {
		const result = await reportingFetches(mount, reporter, () => work(AbortSignal.any([signal, failed.signal])));
		failed.signal.throwIfAborted();
		return result;
	} catch (error) {
		if (!signal.aborted) failed.signal.throwIfAborted();
		throw error;
	} finally {
		for (const stop of stops) stop();
	}
}

async function reportingFetches<T>(mount: WritableMount, reporter: VertexReporter, work: () => Promise<T>): Promise<T> {
	if (mount.remoteLayers.length === 0) return work();
	const before = await mount.fetched();
	const statuses = new Map<string, StatusReporter>();
	const update = async (): Promise<void> => {
		const now = await mount.fetched();
		for (const { digest, size } of mount.remoteLayers) {
			const bytes = now[digest] ?? 0;
			if (bytes === (before[digest] ?? 0)) continue;
			const status = statuses.get(digest) ?? reporter.status(`fetching blocks of ${digest}`, size);
			statuses.set(digest, status);
			status.update(bytes);
		}
	};
	const timer = setInterval(() => { update().catch(() => undefined); }, intervalMs);
	try {
		return await work();
	} finally {
		clearInterval(timer);
		await update().catch(() => undefined); // a dead device server shows in the step itself
		for (const status of statuses.values()) status.done();
	}
}
