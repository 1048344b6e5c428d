// Layers that are opened before the step that mounts them is started: what a lazy base needs to be opened belongs to
// no step, and a step's first reads are under way when it begins.
import { setTimeout as sleep } from 'node:timers/promises';
import type { OpenLayers } from '../device/index.js';

/** Milliseconds; a step that waits for longer than this is seen to wait. */
const patience = 1000;

export class OpenedLayers {
	readonly #opened = new Map<string, Promise<OpenLayers | undefined>>();

	/** Opens the layers of the snapshot `id` with `open`, unless that is done or under way. Who attaches them hears what went wrong. */
	async prepare(id: string, open: () => Promise<OpenLayers | undefined>): Promise<void> {
		let opening = this.#opened.get(id);
		if (opening === undefined || await isFailed(opening)) {
			opening = open();
			this.#opened.set(id, opening);
		}
		await Promise.race([isFailed(opening), sleep(patience, undefined, { ref: false })]);
	}

	/** Runs `attach` when the layers are open, and leaves them to it. */
	async attach<T>(id: string, attach: () => Promise<T>): Promise<T> {
		const opening = this.#opened.get(id);
		this.#opened.delete(id);
		const layers = await opening;
		try {
			return await attach();
		} finally {
			await layers?.close();
		}
	}

	/** Nobody will attach these, or all. */
	async close(ids: Iterable<string> = this.#opened.keys()): Promise<void> {
		await Promise.all([...ids].map((id) => this.attach(id, () => Promise.resolve()).catch(() => undefined)));
	}
}

function isFailed(work: Promise<unknown>): Promise<boolean> {
	return work.then(() => false, () => true);
}
