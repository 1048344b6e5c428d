// One build in flight: solves what its frontend hands in, shows progress, exports the result. Who the
// frontend is (the built-in one, a client, a container) is not its business.
import { randomUUID } from 'node:crypto';
import { FrontendError, NotAnImageError, metadataKey, type FrontendClient, type ImageMeta, type Warning } from '../../frontend/index.js';
import { cacheExport, cacheExportName, cacheImport, encodeConfig, exportCache, type CacheEntry, type CacheExport, type CacheRequest } from '../cache/index.js';
import { exportName, validateExport, type BuildOutput, type EarlyPush, type Exported, type ExportRequest } from '../exporters/index.js';
import { BuildReference, sourceMeta, type AskedRequest, type FrontendOutput, type GatewayHost, type SourcePolicy, type WorkerRecord } from '../gateway/index.js';
import { platformToPb, type Definition, type SourceOp } from '../llb/index.js';
import { asOpResult, dropIgnoredCacheMounts, type LeftResult, type PersistedSnapshot, type Worker } from '../ops/index.js';
import type { BuildSession } from '../session/index.js';
import { blobsOf } from '../snapshot/index.js';
import type { SourceMeta } from '../sources/index.js';
import { VertexError, VertexReporter, isCanceled, type Job, type Result, type SolveStatus, type SolverEdge, type StatusSink } from '../solver/index.js';
import type { Builder } from './builder.js';
import { solverGraph, type SolverGraph } from './graph.js';
import { describeFetches, fetchMetadata, fetchReport } from './fetch-report.js';
import { ForeignCache, cacheEntries } from './foreign-cache.js';
import { definitionsOf, solveOutput } from './output.js';
import {
	defaultProvenance, predicateRecords, provenanceMetadata, provenanceOptions, withProvenance,
	type FrontendRequest, type ImageMaterial, type PredicateRecord, type ProvenanceInput, type ProvenanceOptions, type StepLayers,
} from './provenance/index.js';
import { platformWarnings } from './platform-check.js';
import { SourceChoice } from './source-choice.js';
import { SourceJudge, type CheckPolicy } from './source-judge.js';
import { SourcePolicies } from './source-policy.js';

export interface BuildOptions {
	readonly session: BuildSession;
	/** The client's name of the session; absent when the client is this process. */
	readonly sessionId?: string;
	/** What frontends are told of the builder; absent: one worker for this host's platform. */
	readonly workers?: readonly WorkerRecord[];
	/** Entitlements granted: `network.host`, `security.insecure`. */
	readonly allow: readonly string[];
	readonly exports: readonly ExportRequest[];
	readonly signal: AbortSignal;
	readonly onStatus: StatusSink;
	/** The builder goes on after this build, and gets ready for the next one. */
	readonly isOneOfMany?: boolean;
	/** Caches to look into, and to write what was built to. */
	readonly cacheImports?: readonly CacheRequest[];
	readonly cacheExports?: readonly CacheRequest[];
	/** Which sources may be used, and what instead of others. */
	readonly policies?: readonly SourcePolicy[];
	/** The client's judgement of each source, after these. */
	readonly checkPolicy?: CheckPolicy;
	/** What the builder's operator wants provenance to say of it. */
	readonly provenanceEnv?: Readonly<Record<string, unknown>>;
	/** The frontend the client named, and the definitions it gave; none when the client is the frontend. */
	readonly frontend?: string;
	readonly inputs?: ReadonlyMap<string, Definition>;
	/** What the whole solve was asked with: `attest:TYPE` for attestations, `build-arg:SOURCE_DATE_EPOCH` for exporters. */
	readonly attributes?: Readonly<Record<string, string>>;
}

export class Build implements GatewayHost {
	readonly #job: Job<BuildSession>;
	readonly #earlyPushes = new Map<ExportRequest, EarlyPush>();
	/** Vertices whose layers are part of the image. */
	readonly #imageVertices = new Map<string, SolverEdge<BuildSession>>();
	readonly #exports: ExportRequest[];
	readonly #provenance: ProvenanceOptions | undefined;
	readonly #started = new Date();
	/** What the frontend has handed in and asked about. */
	readonly #definitions = new Set<Definition>();
	readonly #sources: SourceChoice;
	readonly #images: ImageMaterial[] = [];
	readonly #cacheExports: readonly CacheExport[];
	readonly #cacheImports = new Set<string>();
	/** Steps whose layers a definition's result has, bottom last, by definition. */
	readonly #chains = new Map<Definition, readonly SolverEdge<BuildSession>[]>();
	/** Which request a definition answers. */
	readonly #requests = new Map<Definition, FrontendRequest>();
	readonly #forget: (() => void)[] = [];
	/** What failed steps left, by the ids frontends know it by. */
	readonly #offered = new Map<string, LeftResult>();
	/** Bytes fetched from registries before this build, by digest. */
	readonly #fetchedBefore: Promise<Readonly<Record<string, number>>>;
	#solved: BuildOutput | undefined;
	#exported: readonly Exported[] = [];

	/** Throws for exports that cannot be. */
	constructor(private readonly builder: Pick<Builder, 'worker' | 'solver' | 'exporter' | 'cacheAccess' | 'producers' | 'fetched' | 'explainsReads' | 'explainedReads'>, private readonly options: BuildOptions) {
		this.#exports = options.exports.map((one) => withEpoch(one, options.attributes ?? {}));
		for (const one of this.#exports) validateExport(one);
		this.#fetchedBefore = builder.fetched().catch(() => ({})); // its user will see why
		this.#sources = new SourceChoice(new SourcePolicies(options.policies ?? []), options.checkPolicy && this.#judge(options.checkPolicy));
		this.#provenance = provenanceOptions(options.attributes ?? {});
		this.#cacheExports = (options.cacheExports ?? []).map(cacheExport);
		this.#job = builder.solver.job(options.session, (status) => {
			options.onStatus(status);
			this.#pushEarly(status);
		});
		for (const one of this.#exports) {
			const push = builder.exporter.earlyPush(one, { signal: options.signal, credentials: options.session.credentials });
			if (push) this.#earlyPushes.set(one, push);
		}
		options.signal.addEventListener('abort', this.close, { once: true });
		for (const request of options.cacheImports ?? []) this.importCache(request);
	}

	get worker(): Worker {
		return this.builder.worker;
	}

	get session(): BuildSession {
		return this.options.session;
	}

	get sessionId(): string {
		return this.options.sessionId ?? '';
	}

	get workers(): readonly WorkerRecord[] {
		return this.options.workers ?? [ownWorker(this.worker)];
	}

	get allow(): readonly string[] {
		return this.options.allow;
	}

	get signal(): AbortSignal {
		return this.options.signal;
	}

	/** Leaves every vertex: what no other build wants is cancelled. Idempotent. */
	readonly close = (): void => {
		this.options.signal.removeEventListener('abort', this.close);
		this.#job.close();
		for (const forget of this.#forget.splice(0)) forget();
	};

	offer(left: LeftResult): string {
		const id = randomUUID().replaceAll('-', '');
		this.#offered.set(id, left);
		return id;
	}

	offered(id: string): LeftResult | undefined {
		return this.#offered.get(id);
	}

	asked({ attributes }: AskedRequest): void {
		for (const entry of cacheImportsOf(attributes)) this.importCache(entry);
	}

	/** The innermost of nested frontends answers first: a definition is that one's. */
	answered({ frontend, attributes, inputs }: AskedRequest, definitions: readonly Definition[]): void {
		const { producers } = this.builder;
		const request = { frontend, attributes, inputs: producers.inputs(inputs) };
		for (const definition of definitions) {
			if (this.#requests.has(definition)) continue;
			this.#requests.set(definition, request);
			this.#forget.push(producers.add(definition, request));
		}
	}

	/** What the build itself was asked for. */
	get #root(): FrontendRequest {
		const { frontend = '', attributes = {}, inputs = new Map<string, Definition>() } = this.options;
		return { frontend, attributes, inputs: this.builder.producers.inputs(inputs) };
	}

	/** Looks into this cache too, for everything that is not solved yet. */
	importCache(request: CacheRequest): void {
		const source = cacheImport(request);
		const id = JSON.stringify(source);
		if (this.#cacheImports.has(id)) return;
		this.#cacheImports.add(id);
		const context = { ...this.#cacheAccess(), session: this.session, signal: this.signal };
		this.#job.addCache(new ForeignCache(source, this.worker.snapshots, context, (name, work) => this.shown(name, work)));
	}

	/** Caches are in registries the client may need to log in to. */
	#cacheAccess(): Builder['cacheAccess'] {
		const { registry, ...others } = this.builder.cacheAccess;
		return { registry: registry.as(this.session.credentials), ...others };
	}

	/** What a definition stands for, to be solved when it is wanted; undefined for scratch. Throws `failed to load LLB: ...`. */
	async reference(definition: Definition, policies: readonly SourcePolicy[] = []): Promise<BuildReference | undefined> {
		const { worker } = this.builder;
		const graph = await solverGraph(definition, worker, this.options.allow, this.#sources.with(policies));
		const { result } = graph;
		if (!result) return undefined;
		this.#definitions.add(definition);
		this.#chains.set(definition, graph.chain);
		return new BuildReference(definition, {
			worker,
			signal: this.signal,
			run: async () => {
				await dropIgnoredCacheMounts(worker.cacheMountDir, graph.vertices);
				for (const step of graph.chain) this.#imageVertices.set(step.vertex.digest, step);
				return this.#run(graph, result);
			},
		});
	}

	async resolveImageConfig(wanted: SourceOp, options: { readonly platform: ImageMetaPlatform; readonly logName: string; readonly policies?: readonly SourcePolicy[] }): Promise<ImageMeta> {
		const source = await this.#sources.with(options.policies ?? []).choose(wanted, options.platform);
		if (!/^(docker-image|oci-layout):/.test(source.identifier)) throw new NotAnImageError(wanted.identifier.replace(/^[a-z-]+:\/\//, ''), source.identifier);
		return this.#imageConfig(source, options);
	}

	#imageConfig(source: SourceOp, options: { readonly platform: ImageMetaPlatform; readonly logName: string }): Promise<ImageMeta> {
		return this.shown(options.logName, async () => {
			const { reference, target, configBytes } = await this.worker.sources.image(source, options.platform, { session: this.session, signal: this.signal }).catch((error: unknown) => {
				if (isCanceled(error)) throw error;
				const name = source.identifier.replace(/^[a-z-]+:\/\//, '');
				throw new Error(`failed to resolve source metadata for ${name}: ${(error as Error).message}`, { cause: error });
			});
			const local = !source.identifier.startsWith('docker-image://');
			this.#images.push({ kind: 'image', reference: source.identifier.replace(/^[a-z-]+:\/\//, ''), digest: target.digest, platform: options.platform, local });
			return { ref: reference, digest: target.digest, config: configBytes };
		});
	}

	async resolveSourceMeta(wanted: SourceOp, options: { readonly logName: string; readonly objects?: boolean; readonly policies?: readonly SourcePolicy[] }): Promise<SourceMeta> {
		return this.#sourceMeta(await this.#sources.with(options.policies ?? []).choose(wanted, this.worker.platform), options);
	}

	#sourceMeta(source: SourceOp, options: { readonly logName: string; readonly objects?: boolean }): Promise<SourceMeta> {
		return this.shown(options.logName, (reporter) => this.worker.sources.metadata(source, { session: this.session, signal: this.signal, reporter }, options.objects ?? true));
	}

	/** What the judge asks about is not judged first. */
	#judge(check: CheckPolicy): SourceJudge {
		const host = {
			worker: this.worker,
			resolveImageConfig: (source: SourceOp, options: Parameters<GatewayHost['resolveImageConfig']>[1]) => this.#imageConfig(source, options),
			resolveSourceMeta: (source: SourceOp, options: Parameters<GatewayHost['resolveSourceMeta']>[1]) => this.#sourceMeta(source, options),
		};
		return new SourceJudge(check, (request) => sourceMeta(host, { ...request, LogName: request.LogName || `resolving source metadata for ${request.Source?.identifier ?? ''}` }));
	}

	/** Runs work that stands for no operation of the graph as a vertex of progress. */
	async shown<T>(name: string, work: (reporter: VertexReporter) => Promise<T>): Promise<T> {
		const reporter = new VertexReporter({ digest: `random:${randomUUID()}`, name, inputs: [] });
		reporter.watch(this.options.onStatus);
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
		this.options.onStatus({
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

	/** Another export than those the build began with. Throws for one that cannot be. */
	addExport(request: ExportRequest): void {
		const one = withEpoch(request, this.options.attributes ?? {});
		validateExport(one);
		this.#exports.push(one);
	}

	/** Runs what has to run and writes it where the client wants it. Returns BuildKit's exporter response. */
	async export(output: FrontendOutput): Promise<Record<string, string>> {
		const solved = await this.#attested(output, this.#withInlineCache(output, await solveOutput(output)));
		this.#solved = solved;
		await this.#checkPlatforms(output, solved);
		const all = await Promise.all(this.#exports.map((request) => this.#exportOne(request, solved)));
		this.#exported = all;
		return Object.assign({}, ...all.map(({ response }) => response), await this.#exportCaches(output)) as Record<string, string>;
	}

	async #checkPlatforms(output: FrontendOutput, solved: BuildOutput): Promise<void> {
		// Neither a result nor a word about it: the build was for something else.
		if ('ref' in output.result && !output.result.ref && !output.metadata.has(metadataKey.platforms)) return;
		const warnings = platformWarnings(this.options.attributes?.['platform'], solved.platforms.map(({ platform }) => platform), solved.multiPlatform);
		if (warnings.length === 0) return;
		await this.shown('Verifying build result', (reporter) => {
			for (const short of warnings) this.warn({ vertex: reporter.digest, level: 1, short });
			return Promise.resolve();
		});
	}

	/** The result with the records of its own layers, for its config. */
	#withInlineCache(output: FrontendOutput, solved: BuildOutput): BuildOutput {
		if (!this.#cacheExports.some(({ type }) => type === 'inline')) return solved;
		const definitions = definitionsOf(output);
		return {
			...solved,
			platforms: solved.platforms.map((platform, i) => ({ ...platform, inlineCache: async () => encodeConfig(await this.#entriesOf([definitions[i]])).bytes })),
		};
	}

	async #exportCaches(output: FrontendOutput): Promise<Record<string, string>> {
		const response: Record<string, string> = {};
		for (const target of this.#cacheExports.filter(({ type }) => type !== 'inline')) {
			const written = this.shown(cacheExportName(target), async (reporter) => {
				const preparing = reporter.status('preparing build cache for export');
				const entries = target.mode === 'max' ? cacheEntries(await this.#job.finished()) : await this.#entriesOf(definitionsOf(output));
				preparing.done();
				const { blobs, ...access } = this.#cacheAccess();
				return exportCache(target, entries, { ...access, blobPath: (digest, size) => blobs.blobPath(digest, size), session: this.session, reporter, signal: this.signal });
			});
			Object.assign(response, target.ignoreError ? await written.catch(() => ({})) : await written);
		}
		return response;
	}

	/** The steps whose layers these results have. */
	async #entriesOf(definitions: readonly (Definition | undefined)[]): Promise<CacheEntry[]> {
		const wanted = new Set(definitions.flatMap((definition) => (definition && this.#chains.get(definition)) ?? []).map(({ vertex }) => vertex.digest));
		return cacheEntries((await this.#job.finished()).filter(({ digest }) => wanted.has(digest)));
	}

	/** What each exporter made, in their order. */
	get exported(): readonly Exported[] {
		return this.#exported;
	}

	/** Provenance of what was exported, as clients show it: `buildx.build.provenance`, base64. */
	provenance(): Promise<Record<string, string>> {
		return this.#solved ? provenanceMetadata(this.#solved) : Promise.resolve({});
	}

	/** Everything there is to say of the result, for the daemon's own records: a predicate for each platform. Nothing before an export. */
	async recordedProvenance(output: FrontendOutput): Promise<PredicateRecord[]> {
		const options = { ...defaultProvenance, builderId: this.#provenance?.builderId ?? '' };
		return this.#solved ? predicateRecords(this.#solved, this.#provenanceInput(output, options)) : [];
	}

	/** What was fetched, while it ran, of the layers it reads lazily: an entry of the exporter response, if there are any. */
	async fetchedMetadata(): Promise<Record<string, string>> {
		const sizes = await this.#lazyLayers();
		if (this.builder.explainsReads) {
			return this.shown('explaining what was fetched', async (reporter) => {
				const report = fetchReport(sizes, {}, await this.builder.explainedReads());
				reporter.log(1, Buffer.from(describeFetches(report)));
				return fetchMetadata(report);
			});
		}
		const [before, now] = await Promise.all([this.#fetchedBefore, this.builder.fetched()]);
		return fetchMetadata(fetchReport(sizes, Object.fromEntries(Object.entries(now).map(([digest, bytes]) => [digest, bytes - (before[digest] ?? 0)]))));
	}

	/** Sizes of the layers its steps stand on that have been attached from registries, by digest. */
	async #lazyLayers(): Promise<ReadonlyMap<string, number>> {
		const attached = this.worker.snapshots.remoteLayers;
		const finished = attached.size === 0 ? [] : await this.#job.finished();
		const layers = finished.flatMap(({ record }) => (record.results as readonly PersistedSnapshot[]).flatMap(({ layers }) => layers));
		const digests = new Set(layers.flatMap(blobsOf).map(({ digest }) => digest));
		return new Map([...attached].filter(([digest]) => digests.has(digest)));
	}

	async #attested(output: FrontendOutput, solved: BuildOutput): Promise<BuildOutput> {
		return this.#provenance ? withProvenance(solved, this.#provenanceInput(output, this.#provenance)) : solved;
	}

	#provenanceInput(output: FrontendOutput, options: ProvenanceOptions): ProvenanceInput {
		const results = definitionsOf(output);
		const reporter = new VertexReporter({ digest: `random:${randomUUID()}`, name: 'provenance', inputs: [] });
		return {
			options,
			requestOf: (definition) => (definition && this.#requests.get(definition)) ?? this.#root,
			root: this.#root,
			results,
			others: [...this.#definitions].filter((definition) => !results.includes(definition)),
			images: this.#images,
			stepLayers: (definition) => this.#stepLayers(definition),
			builder: { dockerfileVersion: this.workers[0]?.BuildkitVersion?.dockerfileVersion, ...(this.options.provenanceEnv && { env: this.options.provenanceEnv }) },
			started: this.#started,
			worker: this.worker,
			sources: this.#sources,
			context: { session: this.session, signal: this.signal, reporter },
		};
	}

	/** How many layers each step has that this result goes on from. */
	async #stepLayers(definition: Definition): Promise<StepLayers[]> {
		const finished = new Map((await this.#job.finished()).map(({ digest, record }) => [digest, record.results]));
		return (this.#chains.get(definition) ?? []).flatMap(({ vertex: { digest }, index }) => {
			const result = finished.get(digest)?.[index] as PersistedSnapshot | undefined;
			return result ? [{ digest, index, count: result.layers.length }] : [];
		});
	}

	#exportOne(request: ExportRequest, output: BuildOutput): Promise<Exported> {
		return this.shown(exportName(request), (reporter) => this.builder.exporter.run(request, output, {
			signal: this.signal, reporter, credentials: this.session.credentials, early: this.#earlyPushes.get(request),
		}));
	}

	/** Solves; an error of a vertex gets the places in the sources it comes from. */
	async #run(graph: SolverGraph, edge: SolverEdge<BuildSession>): Promise<Result> {
		this.signal.throwIfAborted();
		try {
			return await this.#job.solve(edge);
		} catch (error) {
			if (!(error instanceof VertexError) || isCanceled(error)) throw error;
			throw new FrontendError(error.message, graph.sourcesOf(error.vertex), { cause: error });
		}
	}

	/** A step of the image is done: its layers go to the registry while the next one runs. */
	#pushEarly({ vertexes = [] }: SolveStatus): void {
		if (this.#earlyPushes.size === 0) return;
		for (const { digest, completed, error } of vertexes) {
			const edge = completed && !error ? this.#imageVertices.get(digest) : undefined;
			if (!edge) continue;
			this.#imageVertices.delete(digest);
			// Steps run in order, so this one has a result already or never will.
			void this.#job.solve(edge).then((result) => {
				const done = asOpResult(result);
				if (done.kind === 'snapshot') for (const push of this.#earlyPushes.values()) push.push(done.snapshot.layers);
			}, () => undefined);
		}
	}
}

function ownWorker({ platform }: Worker): WorkerRecord {
	return { ID: 'obd', Labels: new Map(), platforms: [platformToPb(platform)], GCPolicy: [], BuildkitVersion: undefined, CDIDevices: [] };
}

type ImageMetaPlatform = Parameters<FrontendClient['resolveImageConfig']>[1]['platform'];

/** Caches as clients name them to frontends: `cache-imports` is a JSON list, `cache-from` of older ones a list of registry references. */
function cacheImportsOf(attributes: Readonly<Record<string, string>>): CacheRequest[] {
	const { 'cache-imports': text, 'cache-from': references = '' } = attributes;
	const registries = references.split(',').filter((ref) => ref !== '').map((ref) => ({ type: 'registry', attributes: { ref } }));
	if (!text) return registries;
	const list: unknown = JSON.parse(text);
	if (!Array.isArray(list)) throw new Error('failed to unmarshal cache-imports: not a list');
	const imports = list.map((entry: { readonly Type?: unknown; readonly Attrs?: Readonly<Record<string, string>> } | null) => {
		if (typeof entry?.Type !== 'string') throw new Error('failed to unmarshal cache-imports: an entry without a Type');
		return { type: entry.Type, attributes: entry.Attrs ?? {} };
	});
	return [...imports, ...registries];
}

/** An export whose times are those of the build's SOURCE_DATE_EPOCH, unless it says others. */
function withEpoch(request: ExportRequest, attributes: Readonly<Record<string, string>>): ExportRequest {
	const epoch = attributes['build-arg:SOURCE_DATE_EPOCH'] ?? '';
	if (!/^[+-]?\d+$/.test(epoch) || request.attributes['source-date-epoch'] !== undefined) return request;
	return { ...request, attributes: { ...request.attributes, 'source-date-epoch': epoch } };
}
