// Schedules vertices. Equal vertices of any build in flight are one VertexRun; a build (Job) joins the runs
// of its graph, follows their status, and leaves them when it ends.
import { CanceledError } from './error.js';
import type { CacheSource, FinishedVertex, Result, ResultCache, SolverEdge, SolverVertex } from './op.js';
import { VertexRun, type RunHost, type Storing } from './run.js';
import type { StatusSink } from './status.js';

export interface SolverOptions {
	readonly cache: ResultCache;
	/** How many weighted ops (containers, copies) run at once. */
	readonly parallelism: number;
}

export class Solver<Session> implements RunHost<Session> {
	readonly cache: ResultCache;
	readonly storing = new Map<string, Storing>();
	readonly #runs = new Map<string, VertexRun<Session>>();
	readonly #background = new Set<Promise<void>>();
	readonly #waiting: (() => void)[] = [];
	#free: number;

	constructor(options: SolverOptions) {
		this.cache = options.cache;
		this.#free = options.parallelism;
	}

	/** Starts a build: `sink` gets the status of everything it solves. */
	job(session: Session, sink: StatusSink): Job<Session> {
		return new Job(this, session, sink);
	}

	runOf(vertex: SolverVertex<Session>): VertexRun<Session> {
		const id = `${vertex.digest}${vertex.ignoreCache ? '!' : ''}${vertex.variant ?? ''}`;
		let run = this.#runs.get(id);
		if (!run) {
			run = new VertexRun<Session>(this, id, vertex);
			this.#runs.set(id, run);
		}
		return run;
	}

	forget(run: VertexRun<Session>): void {
		if (this.#runs.get(run.id) === run) this.#runs.delete(run.id);
	}

	async acquire(weight: number, signal: AbortSignal): Promise<() => void> {
		signal.throwIfAborted();
		if (weight === 0) return () => undefined;
		if (this.#free > 0) this.#free--;
		else {
			await new Promise<void>((resolve, reject) => {
				const turn = (): void => {
					signal.removeEventListener('abort', cancel);
					resolve();
				};
				const cancel = (): void => {
					const at = this.#waiting.indexOf(turn);
					if (at >= 0) this.#waiting.splice(at, 1);
					reject(new CanceledError());
				};
				signal.addEventListener('abort', cancel, { once: true });
				this.#waiting.push(turn);
			});
		}
		return () => {
			const next = this.#waiting.shift();
			if (next) next();
			else this.#free++;
		};
	}

	background(work: Promise<void>): void {
		const tracked: Promise<void> = work.catch(() => undefined).finally(() => this.#background.delete(tracked));
		this.#background.add(tracked);
	}

	/** Resolves when nothing runs any more and every result that can be stored has been stored. */
	async idle(): Promise<void> {
		while (this.#background.size > 0) await Promise.all(this.#background);
	}
}

export class Job<Session> {
	readonly #joined = new Set<VertexRun<Session>>();
	readonly #caches: CacheSource[] = [];

	constructor(
		private readonly solver: Solver<Session>,
		private readonly session: Session,
		private readonly sink: StatusSink,
	) {}

	/** Solves one output of a vertex and everything it needs. Throws VertexError. */
	async solve(edge: SolverEdge<Session>): Promise<Result> {
		this.#join(edge.vertex, new Set());
		const results = await this.solver.runOf(edge.vertex).results();
		const result = results[edge.index];
		if (!result) throw new Error(`invalid output index ${edge.index} of ${edge.vertex.name}`);
		return result;
	}

	/** Looks into this cache too, from here on. */
	addCache(cache: CacheSource): void {
		this.#caches.push(cache);
	}

	/** The vertices that have finished, for other caches, inputs before users. */
	async finished(): Promise<FinishedVertex[]> {
		const finished = await Promise.all([...this.#joined].map((run) => run.finished().catch(() => undefined)));
		return finished.filter((vertex) => vertex !== undefined);
	}

	/** Leaves every vertex: what no other build wants is cancelled. */
	close(): void {
		for (const run of this.#joined) {
			run.leave(this.session);
			run.reporter.unwatch(this.sink);
		}
		this.#joined.clear();
	}

	/** Inputs first, so that a watcher sees the vertices in build order. */
	#join(vertex: SolverVertex<Session>, seen: Set<SolverVertex<Session>>): void {
		if (seen.has(vertex)) return;
		seen.add(vertex);
		for (const edge of vertex.inputs) this.#join(edge.vertex, seen);
		const run = this.solver.runOf(vertex);
		if (this.#joined.has(run)) return;
		this.#joined.add(run);
		run.join(this.session, this.#caches);
		run.reporter.watch(this.sink);
	}
}
