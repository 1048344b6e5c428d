// What a build has told so far, for everybody who watches it, however late they come.
import type { SolveStatus } from '../solver/index.js';
import { StatusResponse } from './gen/control.js';
import { statusResponse } from './status-messages.js';

/** Bytes of logs in one message: clients take 16 MB. */
const maxLogBytes = 1024 * 1024;

export class ProgressLog {
	readonly #events: SolveStatus[] = [];
	readonly #watchers = new Set<() => void>();
	#closed = false;

	readonly add = (status: SolveStatus): void => {
		if (this.#closed) return;
		this.#events.push(status);
		this.#wake();
	};

	/** Nothing more will be told. */
	close(): void {
		this.#closed = true;
		this.#wake();
	}

	/** Everything that was told, in few messages. */
	async messages(): Promise<StatusResponse[]> {
		const responses: StatusResponse[] = [];
		for (let next = 0; next < this.#events.length;) {
			const [batch, end] = this.#batch(next);
			next = end;
			responses.push(statusResponse(batch));
			// A long log is no reason to keep others waiting.
			await new Promise<void>((resolve) => { setImmediate(resolve); });
		}
		return responses;
	}

	/** Sends everything from the start, as it comes, until the build has ended or the watcher has gone. */
	async watch(send: (response: StatusResponse) => Promise<void>, signal: AbortSignal): Promise<void> {
		let wake = (): void => undefined;
		const notify = (): void => { wake(); };
		this.#watchers.add(notify);
		signal.addEventListener('abort', notify);
		try {
			for (let next = 0; !signal.aborted;) {
				if (next < this.#events.length) {
					const [batch, end] = this.#batch(next);
					next = end;
					await send(statusResponse(batch));
					continue;
				}
				if (this.#closed) return;
				await new Promise<void>((resolve) => { wake = resolve; });
				// What happens at once goes in one message.
				await new Promise<void>((resolve) => { setImmediate(resolve); });
			}
		} finally {
			this.#watchers.delete(notify);
			signal.removeEventListener('abort', notify);
		}
	}

	#batch(from: number): [SolveStatus[], number] {
		let [end, bytes] = [from, 0];
		while (end < this.#events.length && bytes < maxLogBytes) {
			for (const { data } of this.#events[end]?.logs ?? []) bytes += data.length;
			end++;
		}
		return [this.#events.slice(from, end), end];
	}

	#wake(): void {
		for (const wake of this.#watchers) wake();
	}
}
