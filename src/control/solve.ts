// Control.Solve: one build from a client's request to the exporter's response.
import type { Builder, ExportRequest } from '../builder/index.js';
import { callError, solve as solveFrontend, type FrontendOutput, type WorkerRecord } from '../gateway/index.js';
import { Code, RpcError, type ServerCall } from '../grpc/index.js';
import type { ClientSession, SessionManager } from '../session/index.js';
import { SolveRequest, type Exporter, type SolveResponse } from './gen/control.js';
import { ProgressLog } from './progress-log.js';
import { RunningBuild, type RunningBuilds } from './running-build.js';
import type { StatusLogs } from './status-logs.js';

export interface SolveHost {
	readonly builder: Builder;
	readonly sessions: SessionManager;
	readonly running: RunningBuilds;
	readonly statuses: StatusLogs;
	readonly workers: readonly WorkerRecord[];
	/** Entitlements this daemon may grant. */
	readonly entitlements: readonly string[];
}

export async function solve(host: SolveHost, request: SolveRequest, { signal }: ServerCall): Promise<SolveResponse> {
	if (request.Ref === '') throw new RpcError(Code.INVALID_ARGUMENT, 'a build without a Ref');
	const progress = new ProgressLog();
	const release = host.statuses.add(request.Ref, progress);
	let session: ClientSession | undefined;
	try {
		const allow = granted(request.Entitlements, host.entitlements);
		session = await host.sessions.forBuild(request.Session, signal);
		const exports = exportersOf(request).map((exporter, index) => exportRequest(exporter, index, session));
		const ExporterResponse = await host.builder.run({ session, sessionId: request.Session, workers: host.workers, allow, exports, signal, onStatus: progress.add }, async (build) => {
			const output = await (isGatewayClient(request) ? frontendOfClient(host, new RunningBuild(request.Ref, build, request.FrontendInputs)) : solveFrontend(build, {
				definition: request.Definition,
				frontend: request.Frontend,
				opts: Object.fromEntries(request.FrontendAttrs),
				inputs: request.FrontendInputs,
				evaluate: false,
			}));
			return build.export(output);
		});
		return { ExporterResponse: new Map(Object.entries(ExporterResponse)) };
	} catch (error) {
		throw callError(error);
	} finally {
		progress.close();
		release();
		await session?.close();
	}
}

/** Without a definition and a frontend the client makes LLB itself. */
function isGatewayClient({ Definition, Frontend }: SolveRequest): boolean {
	return Frontend === '' && !Definition;
}

async function frontendOfClient(host: SolveHost, running: RunningBuild): Promise<FrontendOutput> {
	const remove = host.running.add(running.ref, running);
	try {
		return await running.returned();
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

function exportRequest({ Type, Attrs }: Exporter, index: number, session: ClientSession | undefined): ExportRequest {
	if (!exporterTypes.has(Type)) throw new Error(`exporter ${JSON.stringify(Type)} could not be found`);
	const type = Type as ExportRequest['type'];
	return { type, attributes: Object.fromEntries(Attrs), ...(type !== 'image' && session && { destination: session.exportReceiver(index) }) };
}
