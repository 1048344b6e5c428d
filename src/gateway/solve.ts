// A solve as frontends and clients ask for it: a definition as it is, or another frontend's answer.
import { answer, resultMetadata, sourcesOf, type FrontendClient, type FrontendResult } from '../../frontend/index.js';
import type { Definition } from '../llb/index.js';
import { solveInContainer } from './container-frontend.js';
import type { Policy as SourcePolicy } from './gen/sourcepolicy.js';
import type { GatewayHost } from './host.js';
import type { BuildReference } from './reference.js';
import { refsOf, type FrontendOutput } from './output.js';

export interface SolveRequest {
	readonly definition?: Definition | undefined;
	/** `dockerfile.v0`, `gateway.v0`, or '' for the definition. */
	readonly frontend: string;
	readonly opts: Readonly<Record<string, string>>;
	readonly inputs: ReadonlyMap<string, Definition>;
	/** For this definition, beside the build's. */
	readonly policies?: readonly SourcePolicy[];
	/** Solves the result's definitions before it is handed back. */
	readonly evaluate: boolean;
}

/** Throws what a frontend or a vertex fails with. */
export async function solve(host: GatewayHost, request: SolveRequest): Promise<FrontendOutput> {
	const result = await answerTo(host, request);
	if (request.evaluate) await Promise.all(refsOf(result).map((ref) => ref?.result()));
	return result;
}

async function answerTo(host: GatewayHost, request: SolveRequest): Promise<FrontendOutput> {
	const { definition } = request;
	const isOwn = isOwnSource(request);
	const frontend = isOwn ? 'dockerfile.v0' : request.frontend;
	if (frontend === '') return { result: { ref: definition && await host.reference(definition, request.policies) }, metadata: new Map() };
	if (definition && definition.def.length > 0) throw new Error('cannot solve with both Definition and Frontend specified');
	const { source, cmdline, ...attributes } = request.opts;
	const asked = { frontend, attributes: isOwn ? attributes : request.opts, inputs: request.inputs };
	host.asked(asked);
	const output = await answerOf(frontend, host, request);
	host.answered(asked, refsOf(output).flatMap((ref) => ref?.definition ?? []));
	return output;
}

function answerOf(frontend: string, host: GatewayHost, request: SolveRequest): Promise<FrontendOutput> {
	switch (frontend) {
		case 'dockerfile.v0': return solveDockerfile(host, request);
		case 'gateway.v0': return solveInContainer(host, request);
		default: throw new Error(`invalid frontend: ${frontend}`);
	}
}

/** `dockerfile.v0` in place of an image is the frontend built in, unless the client has given the name to something else. */
function isOwnSource({ frontend, opts }: SolveRequest): boolean {
	if (frontend !== 'gateway.v0' || opts['source'] !== 'dockerfile.v0') return false;
	return !Object.keys(opts).some((key) => key === 'context:dockerfile.v0' || key.startsWith('context:dockerfile.v0::'));
}

/** The Dockerfile frontend in this process. */
async function solveDockerfile(host: GatewayHost, request: SolveRequest): Promise<FrontendOutput> {
	const said = await answer(frontendClient(host, request));
	switch (said.kind) {
		case 'metadata': return { result: { ref: undefined }, metadata: said.metadata };
		case 'build': return resultOf(host, said.result);
		case 'forward': {
			try {
				return await solveInContainer(host, { ...request, opts: { ...request.opts, source: said.source, cmdline: said.cmdline } });
			} catch (error) {
				throw sourcesOf(error).length > 0 ? error : said.explain(error);
			}
		}
	}
}

async function resultOf(host: GatewayHost, result: FrontendResult): Promise<FrontendOutput> {
	const metadata = resultMetadata(result);
	const refs = await Promise.all(result.platforms.map(async ({ id, definition }): Promise<[string, BuildReference | undefined]> => [id, await host.reference(definition)]));
	return { result: result.multiPlatform ? { refs: new Map(refs) } : { ref: refs[0]?.[1] }, metadata };
}

/** The host as a frontend in this process sees it. */
export function frontendClient(host: GatewayHost, { opts, inputs }: Pick<SolveRequest, 'opts' | 'inputs'>): FrontendClient {
	return {
		opts,
		buildPlatform: host.worker.platform,
		...(host.sessionId === '' ? {} : { sessionId: host.sessionId }),
		solve: (definition) => host.reference(definition),
		resolveImageConfig: (source, options) => host.resolveImageConfig(source, options),
		resolveSourceMeta: (source, options) => host.resolveSourceMeta(source, options),
		inputs: () => Promise.resolve(inputs),
		warn: (warning) => { host.warn(warning); },
	};
}
