// What can be said to a build from outside: collected on the way, for --call=outline.
import type { Location } from '../errors.js';
import type { ArgDefinition } from '../instructions/types.js';

export interface ArgInfo {
	readonly definition: ArgDefinition;
	readonly value: string;
	readonly location: Location;
	/** Arguments its default uses. */
	readonly deps: ReadonlySet<string>;
}

interface Asked {
	readonly required: boolean;
	readonly location: Location;
}

export class Outline {
	constructor(
		readonly allArgs: Map<string, ArgInfo> = new Map(),
		readonly usedArgs: Set<string> = new Set(),
		readonly secrets: Map<string, Asked> = new Map(),
		readonly ssh: Map<string, Asked> = new Map(),
	) {}

	clone(): Outline {
		return new Outline(new Map(this.allArgs), new Set(this.usedArgs), new Map(this.secrets), new Map(this.ssh));
	}

	/** Marks as used what the used ones use. A set that grows while it is walked is walked to its end. */
	closeUsed(): void {
		for (const name of this.usedArgs) {
			for (const dep of this.allArgs.get(name)?.deps ?? []) this.usedArgs.add(dep);
		}
	}
}
