// Control.Solve: one build from a client's request to the exporter's response.
import type { Build, Builder, CacheRequest, ExportRequest, PredicateRecord } from '../builder/index.js';
import { callError, PolicyVerifierDefinition, solve as solveFrontend, type CheckPolicyRequest, type CheckPolicyResponse, type FrontendOutput, type WorkerRecord } from '../gateway/index.js';
import { Code, RpcError, type ServerCall } from '../grpc/index.js';
import type { Caller, ClientSession, SessionManager } from '../session/index.js';
import { SolveRequest, type CacheOptionsEntry, type Exporter, type SolveResponse } from './gen/control.js';
import type { History, Outcome } from './history.js';
import type { IdleMemory } from './idle-memory.js';
import type { GarbageCollector } from './prune.js';
import { ProgressLog } from './progress-log.js';
import { RunningBuild, type RunningBuilds } from './running-build.js';
import type { StatusLogs } from './status-logs.js';

export interface SolveHost {
	readonly builder: Builder;
	readonly sessions: SessionManager;
	readonly running: RunningBuilds;
	readonly statuses: StatusLogs;
	readonly workers: readonly WorkerRecord[];
	readonly history: History;
	readonly collector: GarbageCollector;
	readonly idleMemory: IdleMemory;
	/** Entitlements this daemon may grant. */
	readonly entitlements: readonly string[];
	/** Of the layers of an image whose client asks for none. */
	readonly compression: string;
	/** Said in the provenance of every build. */
	readonly provenanceEnv: Readonly<Record<string, unknown>>;
	/** What went wrong that no client hears of. */
	readonly onError: (error: Error) => void;
}

type Success = Required<Omit<Outcome, 'error'>> & { readonly response: Map<string, string> };

export async function solve(host: SolveHost, request: SolveRequest, { signal }: ServerCall): Promise<SolveResponse> {
	if (request.Ref === '') throw new RpcError(Code.INVALID_ARGUMENT, 'a build without a Ref');
	const idle = host.idleMemory.begin();
	const progress = new ProgressLog();
	const release = host.statuses.add(request.Ref, progress);
	const exporters = exportersOf(request);
	const record = request.Internal ? undefined : host.history.begin(request, exporters);
	let recorded = Promise.resolve();
	try {
		const outcome = await runBuild(host, request, exporters, progress, signal).catch((error: unknown) => ({ error: callError(error) }));
		// A build that went well does not fail for its record, nor wait for it.
		if (record) recorded = record(progress, outcome).catch(host.onError);
		if ('error' in outcome) throw outcome.error;
		return { ExporterResponse: outcome.response };
	} finally {
		progress.close();
		release();
		void recorded.then(() => {
			host.collector.schedule();
			idle();
		});
	}
}

async function runBuild(host: SolveHost, request: SolveRequest, exporters: readonly Exporter[], progress: ProgressLog, signal: AbortSignal): Promise<Success> {
	const allow = granted(request.Entitlements, host.entitlements);
	const session = await host.sessions.forBuild(request.Session, signal);
	try {
		const checkPolicy = request.SourcePolicySession === '' ? undefined : verifierOf(await host.sessions.get(request.SourcePolicySession, signal), signal);
		const exports = exporters.map((exporter, index) => exportRequest(exporter, index, session, host.compression));
		return await host.builder.run({ session, sessionId: request.Session, workers: host.workers, provenanceEnv: host.provenanceEnv, allow, exports, signal, onStatus: progress.add, isOneOfMany: true, ...cachesOf(request), attributes: Object.fromEntries(request.FrontendAttrs), frontend: request.Frontend, inputs: request.FrontendInputs, policies: request.SourcePolicy ? [request.SourcePolicy] : [], ...(checkPolicy && { checkPolicy }) }, async (build) => {
			const addExports = async ({ metadata }: FrontendOutput, refs: readonly string[]): Promise<void> => {
				const found = request.EnableSessionExporter ? await session.findExporters(metadata, refs) : [];
				for (const [i, exporter] of found.entries()) build.addExport(exportRequest(exporter, exporters.length + i, session, host.compression));
			};
			const output = await (isGatewayClient(request) ? frontendOfClient(host, new RunningBuild(request.Ref, build, request.FrontendInputs), addExports) : solveFrontend(build, {
				definition: request.Definition,
				frontend: request.Frontend,
				opts: Object.fromEntries(request.FrontendAttrs),
				inputs: request.FrontendInputs,
				evaluate: false,
			}));
			if (!isGatewayClient(request)) await addExports(output, []);
			const response = new Map(Object.entries({ ...await build.export(output), ...frontendMetadata(output), ...await build.fetchedMetadata() }));
			if (request.EnableSessionExporter) await session.finalizeExport(response);
			return { response, exported: build.exported, provenance: request.Internal ? [] : await recordedProvenance(host, build, output) };
		});
	} finally {
		session.close();
	}
}

/** The client that judges the build's sources. */
function verifierOf(caller: Caller, signal: AbortSignal): (request: CheckPolicyRequest) => Promise<CheckPolicyResponse> {
	return (request) => caller.unary(PolicyVerifierDefinition, PolicyVerifierDefinition.methods.checkPolicy, request, { signal });
}

/** For the history: nothing a build could fail with. */
async function recordedProvenance({ onError }: SolveHost, build: Build, output: FrontendOutput): Promise<readonly PredicateRecord[]> {
	try {
		return await build.recordedProvenance(output);
	} catch (error) {
		onError(error as Error);
		return [];
	}
}

/** What a frontend says to its client through the response. */
function frontendMetadata({ metadata }: FrontendOutput): Record<string, string> {
	return Object.fromEntries([...metadata].filter(([key]) => key.startsWith('frontend.')).map(([key, value]) => [key, Buffer.from(value).toString()]));
}

/** Without a definition and a frontend the client makes LLB itself. */
function isGatewayClient({ Definition, Frontend }: SolveRequest): boolean {
	return Frontend === '' && !Definition;
}

async function frontendOfClient(host: SolveHost, running: RunningBuild, use: (output: FrontendOutput, refs: readonly string[]) => Promise<void>): Promise<FrontendOutput> {
	const remove = host.running.add(running.ref, running);
	try {
		return await running.returned(use);
	} finally {
		remove();
	}
}

function granted(wanted: readonly string[], supported: readonly string[]): readonly string[] {
	for (const one of wanted) {
		const [name = ''] = one.split('=');
		if (!['network.host', 'security.insecure', 'device'].includes(name)) throw new Error(`unknown entitlement ${one}`);
		if (!supported.includes(name)) throw new Error(`granting entitlement ${name} is not allowed by build daemon configuration`);
	}
	return wanted;
}

function exportersOf({ Exporters, ExporterDeprecated, ExporterAttrsDeprecated }: SolveRequest): readonly Exporter[] {
	if (Exporters.length > 0 || ExporterDeprecated === '') return Exporters;
	return [{ Type: ExporterDeprecated, Attrs: ExporterAttrsDeprecated }];
}

const exporterTypes: ReadonlySet<string> = new Set<ExportRequest['type']>(['image', 'oci', 'docker', 'local', 'tar']);

function exportRequest({ Type, Attrs }: Exporter, index: number, session: ClientSession, compression: string): ExportRequest {
	if (!exporterTypes.has(Type)) throw new Error(`exporter ${JSON.stringify(Type)} could not be found`);
	const type = Type as ExportRequest['type'];
	const destination = type === 'image' ? undefined : session.exportReceiver(index);
	return { type, attributes: { ...(['image', 'oci'].includes(type) && { compression }), ...Object.fromEntries(Attrs) }, ...(destination && { destination }) };
}

/** Caches of others a client wants read and written. */
function cachesOf({ Cache }: SolveRequest): { readonly cacheImports: readonly CacheRequest[]; readonly cacheExports: readonly CacheRequest[] } {
	const requests = (entries: readonly CacheOptionsEntry[] = []): CacheRequest[] => entries.map(({ Type, Attrs }) => ({ type: Type, attributes: Object.fromEntries(Attrs) }));
	return { cacheImports: requests(Cache?.Imports), cacheExports: requests(Cache?.Exports) };
}
