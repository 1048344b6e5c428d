// The builder a frontend in a container works for, reached by gRPC: the frontend's client over LLBBridge.
import type { Definition, SourceOp } from '../../src/llb/index.js';
import { attr, platformToPb } from '../../src/llb/index.js';
import { RpcError, type RpcClient } from '../../src/grpc/index.js';
import { NotAnImageError, type FileStat, type FrontendClient, type ImageMeta, type Platform, type Reference, type SourceMeta, type Warning } from '../client.js';
import type { Environment } from './environment.js';
import * as pb from '../../src/gateway/gen/gateway.js';

const { fullName: service, methods } = pb.LLBBridgeDefinition;

/** Capabilities of builders that are older than the list of them. */
const oldestCaps = ['solve.base', 'solve.inlinereturn', 'resolveimage', 'readfile'];

/** A cache the build may take results from: `registry` with `ref`, ... */
export interface CacheImport {
	readonly type: string;
	readonly attrs: Readonly<Record<string, string>>;
}

export class GatewayClient implements FrontendClient {
	readonly #warnings: Promise<void>[] = [];

	private constructor(
		private readonly rpc: RpcClient,
		private readonly environment: Environment,
		private readonly caps: ReadonlySet<string>,
		readonly llbCaps: ReadonlySet<string> | undefined,
	) {}

	/** Says hello. @throws RpcError when nobody answers */
	static async connect(rpc: RpcClient, environment: Environment): Promise<GatewayClient> {
		const pong = await rpc.unary(service, methods.ping, {});
		const enabled = (caps: readonly { ID: string; Enabled: boolean }[]): Set<string> => new Set(caps.filter((cap) => cap.Enabled).map((cap) => cap.ID));
		const caps = pong.FrontendAPICaps.length > 0 ? enabled(pong.FrontendAPICaps) : new Set(oldestCaps);
		return new GatewayClient(rpc, environment, caps, pong.LLBCaps.length > 0 ? enabled(pong.LLBCaps) : undefined);
	}

	get opts(): Readonly<Record<string, string>> {
		return this.environment.opts;
	}

	get buildPlatform(): Platform {
		return this.environment.buildPlatform;
	}

	get sessionId(): string {
		return this.environment.sessionId;
	}

	async solve(definition: Definition): Promise<Reference | undefined> {
		const ref = await this.solveRef(definition, []);
		return ref.id === '' ? undefined : this.#reference(ref.id);
	}

	/** A reference that can be returned; its id is empty for scratch. */
	async solveRef(definition: Definition, cacheImports: readonly CacheImport[]): Promise<pb.Ref> {
		const result = await this.#solve({
			Definition: definition,
			CacheImports: cacheImports.map(({ type, attrs }) => ({ Type: type, Attrs: new Map(Object.entries(attrs)) })),
		});
		switch (result?.result?.$case) {
			case 'ref': return result.result.ref;
			case 'refDeprecated': return pb.Ref.create({ id: result.result.refDeprecated });
			case undefined: return pb.Ref.create({});
			default: throw new Error('the builder answered one definition with several results');
		}
	}

	/** Has another frontend image answer: its whole result. */
	async solveFrontend(opts: Readonly<Record<string, string>>): Promise<pb.Result> {
		const inputs = await this.inputs();
		return (await this.#solve({ Frontend: 'gateway.v0', FrontendOpt: new Map(Object.entries(opts)), FrontendInputs: new Map(inputs) })) ?? pb.Result.create({});
	}

	async resolveImageConfig(source: SourceOp, { platform, resolveMode = '', logName }: { platform: Platform; resolveMode?: string; logName: string }): Promise<ImageMeta> {
		const ref = withoutScheme(source.identifier);
		try {
			if (!this.caps.has('source.metaresolver')) return await this.#resolveConfig(source, platform, resolveMode, logName);
			const { Source, Image } = await this.rpc.unary(service, methods.resolveSourceMeta, pb.ResolveSourceMetaRequest.create({
				Source: source, Platform: platformToPb(platform), LogName: logName, ResolveMode: resolveMode, Image: {},
			}));
			const resolved = withoutScheme(Source?.identifier ?? source.identifier);
			if (!Image) throw new NotAnImageError(ref, Source?.identifier ?? '');
			return { ref: resolved, digest: Image.Digest, config: Image.Config };
		} catch (error) {
			throw error instanceof NotAnImageError ? error : wrapped(`failed to resolve source metadata for ${ref}`, error);
		}
	}

	async #resolveConfig(source: SourceOp, platform: Platform, resolveMode: string, logName: string): Promise<ImageMeta> {
		const layout = source.identifier.startsWith('oci-layout://');
		const ref = withoutScheme(source.identifier);
		const response = await this.rpc.unary(service, methods.resolveImageConfig, pb.ResolveImageConfigRequest.create({
			Ref: ref,
			Platform: platformToPb(platform),
			ResolveMode: resolveMode,
			LogName: logName,
			ResolverType: layout ? 1 : 0,
			SessionID: source.attrs.get(attr.ociSessionId) ?? '',
			StoreID: source.attrs.get(attr.ociStoreId) ?? '',
		}));
		return { ref: response.Ref || ref, digest: response.Digest, config: response.Config };
	}

	async resolveSourceMeta(source: SourceOp, { logName }: { logName: string }): Promise<SourceMeta> {
		if (!this.caps.has('source.metaresolver')) return {};
		const { Git, HTTP } = await this.rpc.unary(service, methods.resolveSourceMeta, pb.ResolveSourceMetaRequest.create({
			Source: source, LogName: logName, Git: { ReturnObject: true },
		}));
		return {
			...(Git && Git.CommitObject.length > 0 ? { gitCommit: Git.CommitObject } : {}),
			...(HTTP?.LastModified ? { httpLastModified: HTTP.LastModified } : {}),
		};
	}

	async inputs(): Promise<ReadonlyMap<string, Definition>> {
		if (!this.caps.has('frontend.inputs')) return new Map();
		const { Definitions } = await this.rpc.unary(service, methods.inputs, {});
		return Definitions;
	}

	warn({ vertex = '', level, short, detail = [], url = '', sourceInfo, ranges = [] }: Warning): void {
		if (!this.caps.has('gateway.warnings')) return;
		const sent = this.rpc.unary(service, methods.warn, pb.WarnRequest.create({
			digest: vertex, level, short: Buffer.from(short), detail: detail.map((line) => Buffer.from(line)), url, info: sourceInfo, ranges: [...ranges],
		}));
		// A warning that does not arrive is no reason to fail.
		this.#warnings.push(sent.then(() => undefined, () => undefined));
	}

	/** Ends the frontend's work: nothing may be asked for after it. */
	async return(outcome: { readonly result: pb.Result } | { readonly error: pb.ReturnRequest['error'] }): Promise<void> {
		await Promise.all(this.#warnings);
		await this.rpc.unary(service, methods.return, pb.ReturnRequest.create(outcome));
	}

	#reference(id: string): Reference {
		return {
			readFile: async (path, range) => {
				const Range = range ? { Offset: range.offset, Length: range.length } : undefined;
				const { Data } = await asNodeError(this.rpc.unary(service, methods.readFile, pb.ReadFileRequest.create({ Ref: id, FilePath: path, Range })));
				return Data;
			},
			readDir: async (path, IncludePattern = '') => {
				const { entries } = await asNodeError(this.rpc.unary(service, methods.readDir, pb.ReadDirRequest.create({ Ref: id, DirPath: path, IncludePattern })));
				return entries.map(fileStat);
			},
			statFile: async (path) => {
				const { stat } = await asNodeError(this.rpc.unary(service, methods.statFile, pb.StatFileRequest.create({ Ref: id, Path: path })));
				if (!stat) throw new Error(`stat ${path}: the builder said nothing`);
				return fileStat(stat);
			},
		};
	}

	async #solve(request: Partial<pb.SolveRequest>): Promise<pb.Result | undefined> {
		const { result, ref } = await this.rpc.unary(service, methods.solve, pb.SolveRequest.create({
			...request, FrontendOpt: this.#solveOpts(request.FrontendOpt), allowResultReturn: true, allowResultArrayRef: true,
			...(this.caps.has('return') ? {} : { ExporterAttr: Buffer.from('{}') }),
		}));
		return result ?? (ref === '' ? undefined : pb.Result.create({ result: { $case: 'refDeprecated', refDeprecated: ref } }));
	}

	/** Where to take caches from the builder is told with every solve. */
	#solveOpts(opts: ReadonlyMap<string, string> = new Map()): Map<string, string> {
		const caches = ['cache-imports', 'cache-from'].flatMap((name): [string, string][] => (this.opts[name] === undefined ? [] : [[name, this.opts[name]]]));
		return new Map([...caches, ...opts]);
	}
}

function withoutScheme(identifier: string): string {
	return identifier.replace(/^[a-z-]+:\/\//, '');
}

/** `error` with a few words before it, unless the builder has said them already. */
function wrapped(what: string, error: unknown): Error {
	const message = error instanceof Error ? error.message : String(error);
	return new Error(message.startsWith(what) ? message : `${what}: ${message}`, { cause: error });
}

/** Calls on files fail with text alone; that a file is missing callers want to know by code. */
async function asNodeError<T>(call: Promise<T>): Promise<T> {
	try {
		return await call;
	} catch (error) {
		if (error instanceof RpcError && error.message.endsWith('no such file or directory')) throw Object.assign(error, { code: 'ENOENT' });
		throw error;
	}
}

function fileStat({ path, mode, size, linkname }: { path: string; mode: number; size: number; linkname: string }): FileStat {
	return { path, mode, size, ...(linkname === '' ? {} : { linkname }) };
}
