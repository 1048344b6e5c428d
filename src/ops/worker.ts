// What ops work with: everything that is one per builder process, handed in rather than imported.
import type { Runtime } from '../runtime/index.js';
import type { SnapshotManager } from '../snapshot/index.js';
import type { Sources } from '../sources/index.js';

export interface Worker {
	readonly snapshots: SnapshotManager;
	readonly sources: Sources;
	readonly runtime: Runtime;
	/** Persistent cache mounts (`RUN --mount=type=cache`) live here, one directory an id. */
	readonly cacheMountDir: string;
	/** Short-lived files: sockets, copies of bound directories. */
	readonly temporaryDir: string;
	/** `linux/amd64`-like platform of this host, for cache keys of ops that name none. */
	readonly platform: { readonly os: string; readonly architecture: string; readonly variant?: string };
}
