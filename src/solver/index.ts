// The solver: schedules the vertices of a build graph, merges equal ones of all builds in flight, finds and
// stores cache records, reports progress, cancels. It knows ops only by the `Op` interface; what a vertex
// does, and what a result is, the ops room decides.
export { CanceledError, VertexError, isCanceled } from './error.js';
export type { CacheMap, CacheRecord, CacheSource, FinishedVertex, FoundRecord, InputKey, Op, OpContext, Result, ResultCache, SolverEdge, SolverVertex, VertexContext } from './op.js';
export { StatusReporter, VertexReporter } from './reporter.js';
export { Job, Solver, type SolverOptions } from './solver.js';
export type * from './status.js';
