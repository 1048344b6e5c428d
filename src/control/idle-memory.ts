// Gives memory back while nothing builds. The device server is not needed then; a build leaves garbage that V8 has
// no reason to collect in a process that is idle, and freed blocks that malloc keeps.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Builder } from '../builder/index.js';
import { keepLittleMemory, trimMemory } from '../native/system.js';

/** Milliseconds after the last build. The second time for V8's new space: it shrinks when little was allocated for five seconds. */
const restMs = [2000, 7500] as const;

export class IdleMemory {
	#building = 0;
	#timers: readonly NodeJS.Timeout[] = [];

	constructor(private readonly builder: Pick<Builder, 'rest'>, private readonly onError: (error: Error) => void) {
		keepLittleMemory();
	}

	/** A build begins; call what is returned at its end. */
	begin(): () => void {
		this.#building++;
		for (const timer of this.#timers) clearTimeout(timer);
		return () => {
			if (--this.#building > 0) return;
			this.#timers = restMs.map((delay) => setTimeout(() => { void this.#giveBack(); }, delay).unref());
		};
	}

	async #giveBack(): Promise<void> {
		await this.builder.rest().catch(this.onError);
		if (this.#building === 0) await collectGarbage();
	}
}

async function collectGarbage(): Promise<void> {
	// Node has no other way to ask for a collection.
	setFlagsFromString('--expose-gc');
	const collect = runInNewContext('gc') as () => void;
	collect();
	collect(); // ends the sweeping that the first has left to the background
	setFlagsFromString('--no-expose-gc');
	await trimMemory();
}
