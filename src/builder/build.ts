// One build: the frontend makes LLB of the Dockerfile, the solver runs it, the exporters write the result.
import { randomUUID } from 'node:crypto';
import { FrontendError, buildDockerfile, handleSubrequest, type FrontendClient, type FrontendResult, type ImageMeta, type Reference, type SourceMeta, type Warning } from '../../frontend/index.js';
import { exportName, validateExport, type BuildOutput, type EarlyPush, type ExportRequest } from '../exporters/index.js';
import { parseImageConfig } from '../image/index.js';
import { type Definition, type SourceOp } from '../llb/index.js';
import { asOpResult, toSnapshot } from '../ops/index.js';
import type { BuildSession } from '../session/index.js';
import { CanceledError, VertexError, VertexReporter, isCanceled, type Job, type Result, type SolveStatus, type SolverEdge, type StatusSink } from '../solver/index.js';
import { scratch, type Snapshot } from '../snapshot/index.js';
import type { Builder } from './builder.js';
import { solverGraph, type SolverGraph } from './graph.js';
import { fileReference } from './reference.js';
import type { BuildRequest, BuildResult } from './request.js';
import { LocalSession } from './session.js';

export class Build implements Pick<FrontendClient, 'solve' | 'resolveImageConfig' | 'resolveSourceMeta' | 'warn'> {
	readonly #session: BuildSession;
	readonly #job: Job<BuildSession>;
	readonly #earlyPushes: readonly EarlyPush[];
	/** Vertices whose layers are part of the image. */
	readonly #imageVertices = new Map<string, SolverEdge<BuildSession>>();

	constructor(
		private readonly builder: Builder,
		private readonly request: BuildRequest,
		private readonly signal: AbortSignal,
		private readonly onStatus: StatusSink,
	) {
		this.#session = new LocalSession(request, (directory) => builder.statCache(directory));
		this.#job = builder.solver.job(this.#session, (status) => {
			onStatus(status);
			this.#pushEarly(status);
		});
		this.#earlyPushes = request.exports.flatMap((one) => builder.exporter.earlyPush(one, signal) ?? []);
	}

	async run(): Promise<BuildResult> {
		for (const one of this.request.exports) validateExport(one);
		const stop = (): void => { this.#job.close(); };
		this.signal.addEventListener('abort', stop, { once: true });
		try {
			this.signal.throwIfAborted();
			const client = this.#client();
			const answer = await handleSubrequest(client);
			if (answer) return { metadata: textOf(answer), fetched: {} };
			const result = await buildDockerfile(client);
			const output = await this.#solveAll(result);
			const metadata = await this.#export(output);
			return { metadata, fetched: await this.builder.fetched() };
		} catch (error) {
			if (this.signal.aborted) throw new CanceledError();
			throw error;
		} finally {
			this.signal.removeEventListener('abort', stop);
		}
	}

	close(): void {
		this.#job.close();
	}

	#client(): FrontendClient {
		return {
			opts: this.request.frontendAttributes,
			buildPlatform: this.builder.worker.platform,
			solve: (definition) => this.solve(definition),
			resolveImageConfig: (source, options) => this.resolveImageConfig(source, options),
			resolveSourceMeta: (source, options) => this.resolveSourceMeta(source, options),
			warn: (warning) => { this.warn(warning); },
		};
	}

	async solve(definition: Definition): Promise<Reference | undefined> {
		const graph = solverGraph(definition, this.builder.worker, this.request.allow);
		return graph.result && fileReference(this.builder.worker, await this.#run(graph, graph.result), this.signal);
	}

	async resolveImageConfig(source: SourceOp, options: { readonly platform: ImageMetaPlatform; readonly logName: string }): Promise<ImageMeta> {
		return this.#shown(options.logName, async () => {
			const { reference, target, configBytes } = await this.builder.worker.sources.image(source, options.platform, { session: this.#session, signal: this.signal });
			return { ref: reference, digest: target.digest, config: configBytes };
		});
	}

	async resolveSourceMeta(source: SourceOp, options: { readonly logName: string }): Promise<SourceMeta> {
		return this.#shown(options.logName, (reporter) => this.builder.worker.sources.metadata(source, { session: this.#session, signal: this.signal, reporter }));
	}

	/** Runs work that stands for no operation of the graph as a vertex of progress. */
	async #shown<T>(name: string, work: (reporter: VertexReporter) => Promise<T>): Promise<T> {
		const reporter = this.#vertex(name);
		reporter.started();
		try {
			const result = await work(reporter);
			reporter.completed();
			return result;
		} catch (error) {
			reporter.failed(isCanceled(error) ? 'context canceled' : (error as Error).message);
			throw error;
		}
	}

	warn(warning: Warning): void {
		const { vertex = '', level, short, detail = [], url, sourceInfo, ranges } = warning;
		this.onStatus({
			warnings: [{
				vertex,
				level,
				short,
				detail,
				...(url !== undefined && { url }),
				...(sourceInfo && { source: { filename: sourceInfo.filename, data: sourceInfo.data, language: sourceInfo.language } }),
				...(ranges && { ranges }),
			}],
		});
	}

	async #solveAll(result: FrontendResult): Promise<BuildOutput> {
		const platforms = await Promise.all(result.platforms.map(async ({ platform, definition, imageConfig }) => ({
			platform,
			snapshot: await this.#snapshot(definition),
			config: parseImageConfig(Buffer.from(JSON.stringify(imageConfig))),
		})));
		return { platforms, multiPlatform: result.multiPlatform };
	}

	async #snapshot(definition: Definition): Promise<Snapshot> {
		const graph = solverGraph(definition, this.builder.worker, this.request.allow);
		if (!graph.result) return scratch;
		for (const step of graph.chain) this.#imageVertices.set(step.vertex.digest, step);
		return toSnapshot(this.builder.worker, await this.#run(graph, graph.result), this.signal);
	}

	/** Solves; an error of a vertex gets the places in the Dockerfile it comes from. */
	async #run(graph: SolverGraph, edge: SolverEdge<BuildSession>): Promise<Result> {
		try {
			return await this.#job.solve(edge);
		} catch (error) {
			if (!(error instanceof VertexError) || isCanceled(error)) throw error;
			throw new FrontendError(error.message, graph.sourcesOf(error.vertex), { cause: error });
		}
	}

	/** A step of the image is done: its layers go to the registry while the next one runs. */
	#pushEarly({ vertexes = [] }: SolveStatus): void {
		if (this.#earlyPushes.length === 0) return;
		for (const { digest, completed, error } of vertexes) {
			const edge = completed && !error ? this.#imageVertices.get(digest) : undefined;
			if (!edge) continue;
			this.#imageVertices.delete(digest);
			// Steps run in order, so this one has a result already or never will.
			void this.#job.solve(edge).then((result) => {
				const done = asOpResult(result);
				if (done.kind === 'snapshot') for (const push of this.#earlyPushes) push.push(done.snapshot.layers);
			}, () => undefined);
		}
	}

	async #export(output: BuildOutput): Promise<Record<string, string>> {
		await Promise.all(this.#earlyPushes.map((push) => push.settled()));
		const all = await Promise.all(this.request.exports.map((request) => this.#exportOne(request, output)));
		return Object.assign({}, ...all) as Record<string, string>;
	}

	async #exportOne(request: ExportRequest, output: BuildOutput): Promise<Record<string, string>> {
		return this.#shown(exportName(request), (reporter) => this.builder.exporter.run(request, output, { signal: this.signal, reporter }));
	}

	/** A vertex of progress that stands for no operation of the graph. */
	#vertex(name: string): VertexReporter {
		const reporter = new VertexReporter({ digest: `random:${randomUUID()}`, name, inputs: [] });
		reporter.watch(this.onStatus);
		return reporter;
	}
}

type ImageMetaPlatform = Parameters<FrontendClient['resolveImageConfig']>[1]['platform'];


/** A subrequest's answer as BuildKit's result metadata: `result.json`, `result.txt`, `result.statuscode`. */
function textOf(answer: ReadonlyMap<string, Uint8Array>): Record<string, string> {
	return Object.fromEntries([...answer].map(([key, value]) => [key, Buffer.from(value).toString('utf8')]));
}
