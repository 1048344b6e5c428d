// Ops: executes one vertex of LLB, whatever it is: source, exec, file, merge, diff, build. Knows how an op's
// message becomes a cache key and a run on snapshots; scheduling and caching are the solver's.
import type { Vertex } from '../llb/index.js';
import type { BuildSession } from '../session/index.js';
import type { Op } from '../solver/index.js';
import { BuildOp, type LoadDefinition } from './build.js';
import { DiffOp } from './diff.js';
import { ExecOp } from './exec.js';
import { FileOp } from './file.js';
import { MergeOp } from './merge.js';
import { PassthroughOp } from './passthrough.js';
import { SourceOp } from './source.js';
import { explained } from './step-error.js';
import type { Worker } from './worker.js';

export { networks, secretEnv } from './exec.js';
export { PreparedMounts } from './mounts.js';
export { asOpResult, DirectoryResult, layersOf, restored, SnapshotResult, type OpResult, type PersistedSnapshot } from './result.js';
export { dropIgnoredCacheMounts } from './cache-mount.js';
export { withTree } from './content.js';
export { StepError, type FailedPart, type LeftResult, type Leftovers } from './step-error.js';
export { toSnapshot } from './to-snapshot.js';
export type { FormerCopies, Worker } from './worker.js';

/** The op that executes a vertex on this worker. `load` reads definitions that come up while it runs. */
export function opFor(vertex: Vertex, worker: Worker, load: LoadDefinition): Op<BuildSession> {
	return explained(bareOpFor(vertex, worker, load), vertex);
}

function bareOpFor(vertex: Vertex, worker: Worker, load: LoadDefinition): Op<BuildSession> {
	const { kind, inputs } = vertex;
	const platform = platformOf(vertex, worker);
	switch (kind.$case) {
		case 'source': return new SourceOp(worker.sources.source(kind.source, platform));
		case 'exec': return new ExecOp(worker, kind.exec, inputs.length, platform);
		case 'file': return new FileOp(worker, kind.file, inputs.length);
		case 'merge': return new MergeOp(worker, kind.merge, inputs.length);
		case 'diff': return new DiffOp(worker, kind.diff, inputs.length);
		case 'build': return new BuildOp(worker, kind.build, inputs.length, load);
		case 'passthrough': return new PassthroughOp(kind.passthrough, inputs.length);
	}
}

/** The platform an operation is for: this host's where it names none. */
export function platformOf(vertex: Vertex, worker: Worker): Worker['platform'] {
	const { platform } = vertex.op;
	if (!platform) return worker.platform;
	return {
		os: platform.OS,
		architecture: platform.Architecture,
		...(platform.Variant !== '' && { variant: platform.Variant }),
		...(platform.OSVersion !== '' && { osVersion: platform.OSVersion }),
	};
}
