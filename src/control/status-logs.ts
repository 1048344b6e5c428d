// The progress of builds by their ref, kept a moment longer than the build: clients ask for it in a call of its
// own that may come before the build and after its end.
import { Code, Registry, RpcError } from '../grpc/index.js';
import type { ProgressLog } from './progress-log.js';

/** How long Status waits for its build, as buildkitd does. */
const patience = 6000;
const keepMs = 10_000;

export class StatusLogs {
	readonly #logs = new Registry<ProgressLog>();

	/** Throws when there is a build of that ref. Call the result when the build has ended. */
	add(ref: string, log: ProgressLog): () => void {
		let remove: () => void;
		try {
			remove = this.#logs.add(ref, log);
		} catch {
			throw new RpcError(Code.UNKNOWN, `job ID ${ref} exists`);
		}
		return () => { setTimeout(remove, keepMs).unref(); };
	}

	get(ref: string): ProgressLog | undefined {
		return this.#logs.get(ref);
	}

	async wait(ref: string, signal: AbortSignal): Promise<ProgressLog> {
		const log = await this.#logs.wait(ref, signal, patience);
		if (!log) throw new RpcError(Code.NOT_FOUND, `no such job ${ref}`);
		return log;
	}
}
