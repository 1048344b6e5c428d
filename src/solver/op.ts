// What the solver needs of an op: its cache identity and a way to run it. The ops room implements this;
// the solver knows nothing of images, files or containers.
import type { VertexReporter } from './reporter.js';

/**
 * A value a vertex produces: a snapshot, or a directory a client lends. Opaque to the solver, which only
 * passes it on and stores what `persist` says.
 */
export interface Result {
	/** What the cache keeps of this result, once it is durable; undefined when it cannot be kept. */
	persist(): Promise<unknown>;
}

/** How one input enters a vertex's cache key. */
export interface InputKey {
	/** Which part of the input is meant; part of the key. */
	readonly selector?: string;
	/** Digest of what the op would take from this input; the key by content. Absent: the whole input counts. */
	readonly content?: (input: Result, signal: AbortSignal) => Promise<string>;
}

/** Cache identity of an op, without its inputs' identities. */
export interface CacheMap {
	/**
	 * What the op does: equal digests on equal inputs give equal results. `undefined` for a source that
	 * cannot name its content (a client's directory): what builds on it is keyed by content only.
	 */
	readonly digest: string | undefined;
	/** One entry an input of the vertex, in order. */
	readonly inputs: readonly InputKey[];
}

/** What an op has while it says what it is. */
export interface VertexContext<Session> {
	readonly signal: AbortSignal;
	readonly reporter: VertexReporter;
	/** What the client of one of the builds that want this vertex lends. */
	readonly session: Session;
}

/** What an op has while it runs. */
export interface OpContext<Session> extends VertexContext<Session> {
	/** The cache key the results will be stored under: ops derive stable ids from it. */
	readonly key: string;
	/** Nothing that an earlier run made may be used. */
	readonly ignoreCache: boolean;
	/** Something a failed run leaves to be looked at: released when no build wants the vertex any more. */
	leave(left: { release(): Promise<void> }): void;
	/** Solves what only came to light while the op ran, as a part of the same builds. */
	solve(edge: SolverEdge<Session>): Promise<Result>;
}

export interface Op<Session = unknown> {
	cacheMap(context: VertexContext<Session>): Promise<CacheMap>;
	/** Gets ready to run on these inputs, outside of the time that the vertex takes. What fails, `run` says. */
	prepare?(inputs: readonly Result[]): Promise<void>;
	/** Runs the op; one result an output. */
	run(context: OpContext<Session>, inputs: readonly Result[]): Promise<readonly Result[]>;
	/** Limits what runs at once; ops without it are only bounded by their inputs. */
	readonly weight?: number;
}

/** A vertex of a loaded definition, with the op that executes it. */
export interface SolverVertex<Session = unknown> {
	readonly digest: string;
	readonly name: string;
	readonly inputs: readonly SolverEdge<Session>[];
	readonly op: Op<Session>;
	readonly ignoreCache: boolean;
	/** Tells vertices apart that do different things under one digest. */
	readonly variant?: string;
	readonly progressGroup?: { readonly id: string; readonly name: string; readonly weak?: boolean };
}

export interface SolverEdge<Session = unknown> {
	readonly vertex: SolverVertex<Session>;
	/** Which output of the vertex. */
	readonly index: number;
}

/** A stored result list of one vertex. */
export interface CacheRecord {
	/** What later vertices use as this vertex's key. */
	readonly key: string;
	/** One `persist()` value an output. */
	readonly results: readonly unknown[];
}

/** A cache of another builder, that some builds look into when their own has nothing. */
export interface CacheSource {
	/** What is under a key, ready to be used; undefined when there is nothing. */
	find(key: string): Promise<FoundRecord | undefined>;
}

export interface FoundRecord {
	/** What later vertices use as this vertex's key. */
	readonly key: string;
	readonly results: readonly Result[];
}

/** A finished vertex as a cache for others has it. */
export interface FinishedVertex {
	readonly digest: string;
	/** Keys its record is found under. */
	readonly keys: readonly string[];
	readonly record: CacheRecord;
}

/** The build cache as the solver sees it: keys to records, and records back to results. */
export interface ResultCache {
	get(key: string): CacheRecord | undefined;
	/** Stores `record` under every key of `keys`. */
	put(keys: readonly string[], record: CacheRecord, vertexName: string): Promise<void>;
	/** Rebuilds a result from what `persist` gave; undefined when something it needs is gone. */
	load(value: unknown): Promise<Result | undefined>;
}
