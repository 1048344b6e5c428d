// Gives memory back while nothing builds. A build leaves garbage that V8 has no reason to collect in a process
// that is idle, and freed blocks that malloc keeps.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { trimMemory } from '../native/system.js';

const idleMs = 2000;

export class IdleMemory {
	#building = 0;
	#timer: NodeJS.Timeout | undefined;

	/** A build begins; call what is returned at its end. */
	begin(): () => void {
		this.#building++;
		clearTimeout(this.#timer);
		return () => {
			if (--this.#building === 0) this.#timer = setTimeout(() => { void giveBack(); }, idleMs).unref();
		};
	}
}

async function giveBack(): Promise<void> {
	// Node has no other way to ask for a collection.
	setFlagsFromString('--expose-gc');
	const collect = runInNewContext('gc') as () => void;
	collect();
	collect(); // ends the sweeping that the first has left to the background
	setFlagsFromString('--no-expose-gc');
	await trimMemory();
}
