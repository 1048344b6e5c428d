// One vertex in flight, shared by every build that wants it: finds its cache key, takes its results from
// the cache or runs its op, and stops when the last build that wanted it has gone.
import { createHash } from 'node:crypto';
import { CacheKeyError, CanceledError, VertexError, isCanceled } from './error.js';
import type { CacheMap, CacheRecord, CacheSource, FinishedVertex, Result, ResultCache, SolverEdge, SolverVertex, VertexContext } from './op.js';
import { VertexReporter } from './reporter.js';

/** A vertex's cache identity, found without running it where possible. */
interface Identity {
	/** Key later vertices build on; undefined for sources that have none. */
	readonly key: string | undefined;
	/** Results, when the cache had them. */
	readonly cached?: readonly Result[];
	/** Keys to store the results under after a run. */
	readonly storeKeys: readonly string[];
	/** Every key the results are found under. */
	readonly keys: readonly string[];
}

interface InputIdentity {
	readonly key: string | undefined;
	/** Digest of what the op takes from the input, where that was needed already. */
	readonly content: string | undefined;
}

/** Results of a vertex that has run. */
export interface Storing {
	/** What later vertices use as this vertex's key. */
	readonly key: string;
	readonly results: readonly Result[];
}

/** What a run needs of the solver that owns it. */
export interface RunHost<Session> {
	readonly cache: ResultCache;
	/** What is on its way into the cache, by its keys: the next build need not wait for that. */
	readonly storing: Map<string, Storing>;
	runOf(vertex: SolverVertex<Session>): VertexRun<Session>;
	/** Waits for a free place among the ops that run at once. */
	acquire(weight: number, signal: AbortSignal): Promise<() => void>;
	/** Called once when nobody wants the run any more. */
	forget(run: VertexRun<Session>): void;
	/** Work that is to end, in success or failure, before the solver is idle. */
	background(work: Promise<void>): void;
}

export class VertexRun<Session> {
	readonly reporter: VertexReporter;
	readonly #abort = new AbortController();
	/** Whoever wants it, with the caches they brought. */
	readonly #sessions = new Map<Session, readonly CacheSource[]>();
	readonly #slow = new Flag();
	/** Vertices this one brought up while it ran. */
	readonly #inner = new Set<VertexRun<Session>>();
	/** What a failed run left. */
	readonly #left = new Set<{ release(): Promise<void> }>();
	readonly #contents = new Map<number, Promise<string | undefined>>();
	#identity: Promise<Identity> | undefined;
	#results: Promise<readonly Result[]> | undefined;

	constructor(
		private readonly host: RunHost<Session>,
		readonly id: string,
		readonly vertex: SolverVertex<Session>,
	) {
		this.reporter = new VertexReporter({
			digest: vertex.digest,
			name: vertex.name,
			inputs: vertex.inputs.map((edge) => edge.vertex.digest),
			...(vertex.progressGroup && { progressGroup: vertex.progressGroup }),
		});
	}

	/** A build wants this vertex: its session may be used, and the vertex runs on while it is wanted. */
	join(session: Session, caches: readonly CacheSource[]): void {
		this.#sessions.set(session, caches);
		for (const run of this.#inner) run.join(session, caches);
	}

	leave(session: Session): void {
		this.#sessions.delete(session);
		for (const run of this.#inner) run.leave(session);
		if (this.#sessions.size > 0) return;
		this.#abort.abort(new CanceledError());
		this.reporter.canceled();
		this.host.forget(this);
		for (const left of this.#left) this.host.background(left.release());
		this.#left.clear();
	}

	#leave(left: { release(): Promise<void> }): void {
		if (this.#sessions.size > 0) this.#left.add(left);
		else this.host.background(left.release());
	}

	/** The vertex's results; runs what has to run, once. */
	results(): Promise<readonly Result[]> {
		if (!this.#results) {
			this.#results = this.#observe(() => this.#produce());
			this.host.background(this.#results.then(() => undefined));
		}
		return this.#results;
	}

	/** Cache key of the vertex, looked up or computed without running it where possible. */
	identity(): Promise<Identity> {
		if (!this.#identity) {
			this.#identity = this.#observe(() => this.#identify());
			this.host.background(this.#identity.then(() => undefined));
		}
		return this.#identity;
	}

	/** Whoever wants this vertex wants the inner ones, and sees them. */
	async #solveInner(edge: SolverEdge<Session>): Promise<Result> {
		this.#adopt(edge.vertex, new Set());
		return output(await this.host.runOf(edge.vertex).results(), edge.index);
	}

	#adopt(vertex: SolverVertex<Session>, seen: Set<SolverVertex<Session>>): void {
		if (seen.has(vertex)) return;
		seen.add(vertex);
		for (const edge of vertex.inputs) this.#adopt(edge.vertex, seen);
		const run = this.host.runOf(vertex);
		if (run === this || this.#inner.has(run)) return;
		this.#inner.add(run);
		for (const [session, caches] of this.#sessions) run.join(session, caches);
		run.reporter.watchWith(this.reporter);
	}

	/** The vertex for other caches; undefined while it has not finished, or when it has no key or no result that can be kept. */
	async finished(): Promise<FinishedVertex | undefined> {
		const identity = await this.#identity;
		const results = identity?.cached ?? await this.#results;
		if (identity?.key === undefined || !results) return undefined;
		const values = await Promise.all(results.map((result) => result.persist()));
		if (values.some((value) => value === undefined)) return undefined;
		return { digest: this.vertex.digest, keys: [...new Set(identity.keys)], record: { key: identity.key, results: values } };
	}

	/** True as soon as it is clear that the identity takes more than a look into the cache; false when it does not. */
	slow(): Promise<boolean> {
		const known = (): void => { this.#slow.set(false); };
		this.identity().then(known, known);
		return this.#slow.value;
	}

	async #observe<T>(work: () => Promise<T>): Promise<T> {
		try {
			this.#abort.signal.throwIfAborted();
			return await work();
		} catch (error) {
			if (error instanceof VertexError) throw error;
			this.reporter.failed(isCanceled(error) ? 'context canceled' : messageOf(error instanceof CacheKeyError ? error.cause : error));
			throw new VertexError(this.vertex.digest, this.vertex.name, error);
		}
	}

	#context(): VertexContext<Session> {
		const session = this.#sessions.keys().next().value;
		if (session === undefined) throw new CanceledError();
		return { signal: this.#abort.signal, reporter: this.reporter, session };
	}

	async #identify(): Promise<Identity> {
		const { vertex } = this;
		const mapping = vertex.op.cacheMap(this.#context()).catch((error: unknown) => {
			throw isCanceled(error) || this.#abort.signal.aborted ? error : new CacheKeyError(error);
		});
		mapping.catch(() => undefined); // seen below; an input may fail first
		const ahead = this.#readAhead(mapping);
		this.host.background(ahead);
		const identified = this.#identifyInputs(mapping);
		// One input that fails ends the wait for the others.
		const inputs = await Promise.race([identified, ahead.then(() => identified)]);
		const map = await mapping;
		if (map.digest === undefined) return { key: undefined, storeKeys: [], keys: [] };

		const storeKeys: string[] = [];
		const byDefinition = definitionKey(map.digest, map, vertex, inputs);
		if (byDefinition !== undefined) {
			const found = await this.#lookup(byDefinition);
			if (found) return found;
			storeKeys.push(byDefinition);
		}
		if (map.inputs.some((input) => input.content)) {
			this.#slow.set(true);
			const byContent = await this.#contentKey(map.digest, map, inputs);
			const found = await this.#lookup(byContent);
			if (found) {
				if (byDefinition !== undefined) this.#alias(byDefinition, byContent);
				return found;
			}
			storeKeys.push(byContent);
		}
		const key = storeKeys.at(-1);
		if (key === undefined) return { key: undefined, storeKeys, keys: [] };
		// A step that ignores the cache gets a new identity, so that nothing later matches its old results.
		return { key: vertex.ignoreCache ? hash('nocache', key, String(Date.now()), String(Math.random())) : key, storeKeys, keys: storeKeys };
	}

	/** Of several steps whose files are missing, the error is that of the last step, as BuildKit's. */
	async #identifyInputs(mapping: Promise<CacheMap>): Promise<InputIdentity[]> {
		const contents: Promise<string | undefined>[] = [];
		const identify = async (index: number): Promise<InputIdentity> => {
			const edge = this.vertex.inputs[index];
			if (!edge) throw new Error(`vertex ${this.vertex.digest} has no input ${index}`);
			const [map, { key }] = await Promise.all([mapping, this.host.runOf(edge.vertex).identity()]);
			if (key !== undefined) return { key, content: undefined };
			// Only the content can tell what this input is: no need to wait for the other inputs.
			this.#slow.set(true);
			const content = this.#content(edge, map, index);
			contents.push(content);
			return { key, content: await content };
		};
		const last = this.vertex.inputs.length - 1;
		try {
			const inputs = await Promise.all(this.vertex.inputs.map((_, i) => identify(last - i)));
			return inputs.reverse();
		} catch (error) {
			await Promise.all(contents);
			throw error;
		}
	}

	/**
	 * While one input takes its time, the content of the others is read that have to run anyway: two stages a
	 * third one copies from are built side by side.
	 */
	async #readAhead(mapping: Promise<CacheMap>): Promise<void> {
		const runs = this.vertex.inputs.map((edge) => this.host.runOf(edge.vertex));
		if (!(await anyOf(runs.map((run) => run.slow())))) return;
		this.#slow.set(true);
		const map = await mapping;
		await Promise.all(this.vertex.inputs.map(async (edge, i) => {
			if (map.inputs[i]?.content && !(await runs[i]?.identity())?.cached) await this.#content(edge, map, i);
		}));
	}

	async #contentKey(digest: string, map: CacheMap, inputs: readonly InputIdentity[]): Promise<string> {
		const parts = await Promise.all(this.vertex.inputs.map(async (edge, i) => {
			const content = inputs[i]?.content ?? (await this.#content(edge, map, i));
			return content === undefined ? `${inputs[i]?.key ?? unstable()}#${edge.index}` : `content:${content}`;
		}));
		return hash(digest, ...parts);
	}

	/** Digest of what the op takes from an input; undefined when the whole input counts. */
	#content(edge: SolverEdge<Session>, map: CacheMap, index: number): Promise<string | undefined> {
		let content = this.#contents.get(index);
		if (!content) this.#contents.set(index, content = this.#readContent(edge, map, index));
		return content;
	}

	async #readContent(edge: SolverEdge<Session>, map: CacheMap, index: number): Promise<string | undefined> {
		const content = map.inputs[index]?.content;
		if (!content) return undefined;
		const results = await this.host.runOf(edge.vertex).results();
		return content(output(results, edge.index), this.#abort.signal);
	}

	async #lookup(key: string): Promise<Identity | undefined> {
		if (this.vertex.ignoreCache) return undefined;
		const found = (await this.#lookupOwn(key)) ?? (await this.#lookupForeign(key));
		if (!found) return undefined;
		this.reporter.cached();
		return { ...found, storeKeys: [], keys: [key, found.key] };
	}

	async #lookupOwn(key: string): Promise<{ readonly key: string; readonly cached: readonly Result[] } | undefined> {
		const storing = this.host.storing.get(key);
		if (storing) return { key: storing.key, cached: storing.results };
		const record = this.host.cache.get(key);
		if (!record) return undefined;
		const results = await Promise.all(record.results.map((value) => this.host.cache.load(value)));
		return results.every((result) => result !== undefined) ? { key: record.key, cached: results } : undefined;
	}

	async #lookupForeign(key: string): Promise<{ readonly key: string; readonly cached: readonly Result[] } | undefined> {
		for (const source of new Set([...this.#sessions.values()].flat())) {
			const found = await source.find(key);
			if (found) return { key: found.key, cached: found.results };
		}
		return undefined;
	}

	/** Lets the definition key find the record that the content key found. */
	#alias(byDefinition: string, byContent: string): void {
		const record = this.host.cache.get(byContent);
		if (record) this.host.background(this.host.cache.put([byDefinition], record, this.vertex.name));
	}

	async #produce(): Promise<readonly Result[]> {
		const identity = await this.identity();
		if (identity.cached) return identity.cached;
		const inputs = await Promise.all(this.vertex.inputs.map(async (edge) => {
			return output(await this.host.runOf(edge.vertex).results(), edge.index);
		}));
		const preparing = this.vertex.op.prepare?.(inputs);
		preparing?.catch(() => undefined); // seen below; there may be no place to run for a while
		const release = await this.host.acquire(this.vertex.op.weight ?? 0, this.#abort.signal);
		try {
			await preparing;
			this.#abort.signal.throwIfAborted();
			this.reporter.started();
			const key = identity.key ?? unstable();
			const results = await this.vertex.op.run({ ...this.#context(), key, ignoreCache: this.vertex.ignoreCache, leave: (left) => { this.#leave(left); }, solve: (edge) => this.#solveInner(edge) }, inputs);
			this.reporter.completed();
			if (identity.storeKeys.length > 0) this.host.background(this.#store(identity.storeKeys, key, results));
			return results;
		} finally {
			release();
		}
	}

	async #store(keys: readonly string[], key: string, results: readonly Result[]): Promise<void> {
		const storing: Storing = { key, results };
		for (const one of keys) this.host.storing.set(one, storing);
		try {
			const values = await Promise.all(results.map((result) => result.persist()));
			if (values.some((value) => value === undefined)) return;
			const record: CacheRecord = { key, results: values };
			await this.host.cache.put(keys, record, this.vertex.name);
		} finally {
			for (const one of keys) if (this.host.storing.get(one) === storing) this.host.storing.delete(one);
		}
	}
}

function messageOf(error: unknown): string {
	return error instanceof Error ? error.message : String(error);
}

/** A boolean that is decided once, perhaps later. */
class Flag {
	readonly value: Promise<boolean>;
	#resolve: (value: boolean) => void = () => undefined;

	constructor() {
		this.value = new Promise((resolve) => { this.#resolve = resolve; });
	}

	/** The first call counts. */
	set(value: boolean): void {
		this.#resolve(value);
	}
}

/** True as soon as one is true, false when all are false. */
async function anyOf(values: readonly Promise<boolean>[]): Promise<boolean> {
	const all = Promise.all(values).then((known) => known.includes(true));
	const one = values.map(async (value) => (await value) || all);
	return Promise.race([all, ...one]);
}

/** Key by definition; undefined when an input has no identity of its own. */
function definitionKey<S>(digest: string, map: CacheMap, vertex: SolverVertex<S>, inputs: readonly InputIdentity[]): string | undefined {
	const parts: string[] = [];
	for (const [i, edge] of vertex.inputs.entries()) {
		const key = inputs[i]?.key;
		if (key === undefined) return undefined;
		parts.push(`${key}#${edge.index}#${map.inputs[i]?.selector ?? ''}`);
	}
	return hash(digest, ...parts);
}

function output(results: readonly Result[], index: number): Result {
	const result = results[index];
	if (!result) throw new Error(`invalid output index ${index}: the input has ${results.length} outputs`);
	return result;
}

function hash(...parts: readonly string[]): string {
	const sum = createHash('sha256');
	for (const part of parts) sum.update(part).update('\0');
	return `sha256:${sum.digest('hex')}`;
}

/** An identity that equals no other. */
function unstable(): string {
	return hash('unstable', process.hrtime.bigint().toString(), String(Math.random()));
}
