// Shows what a step reads from registries while it runs.
import type { WritableMount } from '../snapshot/index.js';
import type { StatusReporter, VertexReporter } from '../solver/index.js';

const intervalMs = 300;

/** Runs `work` on a mount; bytes fetched for it meanwhile appear as a line below the step. */
export async function reportingFetches<T>(mount: WritableMount, reporter: VertexReporter, work: () => Promise<T>): Promise<T> {
	if (!mount.isLazy) return work();
	const before = await mount.fetched();
	let status: StatusReporter | undefined;
	const update = async (): Promise<void> => {
		const bytes = (await mount.fetched()) - before;
		if (bytes === 0) return;
		status ??= reporter.status('fetching blocks of the base');
		status.update(bytes, 0);
	};
	const timer = setInterval(() => { update().catch(() => undefined); }, intervalMs);
	try {
		return await work();
	} finally {
		clearInterval(timer);
		await update().catch(() => undefined); // a dead device server shows in the step itself
		status?.done();
	}
}
