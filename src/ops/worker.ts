// What ops work with: everything that is one per builder process, handed in rather than imported.
import type { Runtime } from '../runtime/index.js';
import type { SealedLayer, SnapshotManager } from '../snapshot/index.js';
import type { Sources } from '../sources/index.js';

/** What is kept of the last run of a copy, for the next one; the cache keeps it with the copy's result. */
export interface FormerCopy {
	readonly key: string;
	/** The layer it made. */
	readonly layer: SealedLayer;
	/** Path of its notes (`runNotedCopies`). */
	readonly notes: string;
}

export interface FormerCopies {
	/** Undefined unless all of it is in the store; what is found stays while the build runs. */
	find(key: string): Promise<FormerCopy | undefined>;
	/** The next run copies everything. */
	forget(key: string): Promise<void>;
	/** A path for notes in the making. */
	temporaryPath(): Promise<string>;
	/** Takes such a file into the store. */
	keep(file: string, digest: string, size: number): Promise<void>;
}

export interface Worker {
	readonly snapshots: SnapshotManager;
	readonly formerCopies: FormerCopies;
	readonly sources: Sources;
	readonly runtime: Runtime;
	/** Persistent cache mounts (`RUN --mount=type=cache`) live here, one directory an id. */
	readonly cacheMountDir: string;
	/** Short-lived files: sockets, copies of bound directories. */
	readonly temporaryDir: string;
	/** `linux/amd64`-like platform of this host, for cache keys of ops that name none. */
	readonly platform: { readonly os: string; readonly architecture: string; readonly variant?: string };
}
