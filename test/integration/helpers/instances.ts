// Which builder instances a store has had: their ids name the kernel objects they may leave behind.
import { watch, type FSWatcher } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Store } from '../../../src/store/index.js';

export class InstanceWatch {
	readonly #seen = new Set<string>();
	readonly #markers = new Map<string, () => void>();
	#markerCount = 0;

	private constructor(private readonly runDirectory: string, private readonly watcher: FSWatcher) {}

	/** Makes the store, if need be, and watches it. */
	static async start(root: string): Promise<InstanceWatch> {
		await Store.open(root).close();
		const runDirectory = path.join(root, 'run');
		await mkdir(runDirectory, { recursive: true });
		const watcher = watch(runDirectory, { persistent: false });
		const instances = new InstanceWatch(runDirectory, watcher);
		watcher.on('change', (_, name) => instances.#onName(String(name)));
		return instances;
	}

	/** Working directories of all instances so far, whether they still exist or not. */
	async directories(): Promise<string[]> {
		await this.#caughtUp();
		return [...this.#seen].map((id) => path.join(this.runDirectory, id));
	}

	stop(): void {
		this.watcher.close();
	}

	#onName(name: string): void {
		const marker = this.#markers.get(name);
		if (marker) marker();
		else if (/^[0-9a-f]{16}$/.test(name)) this.#seen.add(name);
	}

	/** Waits for the news of everything that has happened until now. */
	async #caughtUp(): Promise<void> {
		const name = `marker-${process.pid}-${this.#markerCount++}`;
		const seen = new Promise<void>((resolve) => this.#markers.set(name, resolve));
		const file = path.join(this.runDirectory, name);
		// The watcher keeps no process alive; the timer does until the news has come.
		const alive = setInterval(() => undefined, 1000);
		await writeFile(file, '');
		await seen;
		clearInterval(alive);
		await rm(file);
		this.#markers.delete(name);
	}
}
