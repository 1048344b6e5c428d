// The LLBBridge service for one frontend, over whatever connection it comes: what the frontend asked for, by
// the ids it was given, and what it returned in the end.
import { errorOf, type Handlers } from '../grpc/index.js';
import type { Definition, SourceOp, pb } from '../llb/index.js';
import { platformFromPb } from '../llb/index.js';
import type { FileEntry } from '../native/files.js';
import { randomUUID } from 'node:crypto';
import { frontendApiCaps, llbCaps } from './caps.js';
import { Containers } from './containers.js';
import { callError, returnedError } from './errors.js';
import type * as wire from './gen/gateway.js';
import type { LLBBridgeDefinition } from './gen/gateway.js';
import type { GatewayHost } from './host.js';
import type { BuildReference } from './reference.js';
import type { FrontendOutput, ResultAttestation } from './output.js';
import { solve } from './solve.js';
import { referenceAsAsked, sourceMeta } from './source-meta.js';

type Service = typeof LLBBridgeDefinition;
type Calls = Required<Handlers<Service>>;

/** Empty for scratch: BuildKit's id of it. */
const scratchId = '';

export class Bridge {
	/** What the frontend returned; rejects with the error it returned, or that of `fail`. */
	readonly returned: Promise<FrontendOutput>;
	/** Resolves at the frontend's first call. */
	readonly spoken: Promise<void>;
	readonly #refs = new Map<string, BuildReference>();
	readonly #containers: Containers;
	#settle!: { readonly resolve: (result: FrontendOutput) => void; readonly reject: (error: unknown) => void };
	#isReturned = false;
	#speak!: () => void;

	/** @param inputs definitions the client gives the frontend */
	constructor(private readonly host: GatewayHost, private readonly inputs: ReadonlyMap<string, Definition>) {
		this.spoken = new Promise((resolve) => { this.#speak = resolve; });
		this.returned = new Promise((resolve, reject) => { this.#settle = { resolve, reject }; });
		this.returned.catch(() => undefined); // seen by whoever waits for it
		this.#containers = new Containers(host, (id) => host.offered(id) ?? this.#ref(id));
	}

	/** Whether the frontend has returned, or was given up. */
	get isReturned(): boolean {
		return this.#isReturned;
	}

	/** The frontend cannot return any more. Without effect when it has. */
	fail(error: unknown): void {
		if (this.#isReturned) return;
		this.#isReturned = true;
		this.#settle.reject(error);
	}

	/** The ids by which the frontend knows the results it returned. */
	idsOf(output: FrontendOutput): string[] {
		const wanted = new Set('refs' in output.result ? output.result.refs.values() : [output.result.ref]);
		return [...this.#refs].flatMap(([id, ref]) => (wanted.delete(ref) ? [id] : []));
	}

	/** Ends the containers the frontend left. What was returned stays. */
	async close(): Promise<void> {
		this.fail(new Error('the frontend has ended without a result'));
		await this.#containers.close();
	}

	/** The service's methods, with errors as callers expect them. */
	get handlers(): Calls {
		const { host } = this;
		const calls: Calls = {
			ping: () => ({ FrontendAPICaps: [...frontendApiCaps], LLBCaps: [...llbCaps], Workers: [...this.host.workers] }),
			solve: (request) => this.#solve(request),
			resolveImageConfig: (request) => this.#resolveImageConfig(request),
			resolveSourceMeta: (request) => sourceMeta(host, request),
			readFile: async ({ Ref, FilePath, Range }) => ({ Data: await this.#files(Ref).readFile(FilePath, fileRange(Range)) }),
			readDir: async ({ Ref, DirPath, IncludePattern }) => ({ entries: (await this.#files(Ref).readDir(DirPath, IncludePattern)).map(fileStat) }),
			statFile: async ({ Ref, Path }) => ({ stat: fileStat(await this.#files(Ref).statFile(Path)) }),
			evaluate: async ({ Ref }) => {
				await this.#ref(Ref)?.result();
				return {};
			},
			return: (request) => this.#return(request),
			inputs: () => ({ Definitions: new Map(this.inputs) }),
			newContainer: async (request) => {
				await this.#containers.create(request);
				return {};
			},
			releaseContainer: async ({ ContainerID }) => {
				await this.#containers.release(ContainerID);
				return {};
			},
			execProcess: (requests, _call, send) => this.#containers.exec(requests, send),
			readFileContainer: async ({ Ref, FilePath, Range, MountIndex }) => ({ Data: await this.#containers.files(Ref, MountIndex).readFile(FilePath, fileRange(Range)) }),
			readDirContainer: async ({ Ref, DirPath, IncludePattern, MountIndex }) => ({
				entries: (await this.#containers.files(Ref, MountIndex).readDir(DirPath, IncludePattern)).map(fileStat),
			}),
			statFileContainer: async ({ Ref, Path, MountIndex }) => ({ stat: fileStat(await this.#containers.files(Ref, MountIndex).statFile(Path)) }),
			warn: ({ digest, level, short, detail, url, info, ranges }) => {
				host.warn({
					vertex: digest, level, short: text(short), detail: detail.map(text), url, ...(info && { sourceInfo: info }),
					ranges: ranges.map(({ start, end }) => ({ start: start ?? { line: 0, character: 0 }, end: end ?? { line: 0, character: 0 } })),
				});
				return {};
			},
		};
		return this.#guard(calls);
	}

	/** The same calls; what they throw comes with BuildKit's details. */
	#guard(calls: Calls): Calls {
		const guarded = Object.entries(calls).map(([name, call]) => [name, async (...args: unknown[]): Promise<unknown> => {
			this.#speak();
			try {
				return await (call as (...args: unknown[]) => unknown)(...args);
			} catch (error) {
				throw callError(error, (left) => this.host.offer(left));
			}
		}]);
		return Object.fromEntries(guarded) as Calls;
	}

	#ref(id: string): BuildReference | undefined {
		const ref = this.#refs.get(id);
		if (!ref && id !== scratchId) throw new Error(`no such ref: ${id}`);
		return ref;
	}

	#files(id: string): BuildReference {
		const ref = this.#ref(id);
		if (!ref) throw new Error(`no such ref: ${id}`);
		return ref;
	}

	#register(ref: BuildReference | undefined): wire.Ref {
		if (!ref) return { id: scratchId, def: undefined };
		const id = randomUUID().replaceAll('-', '');
		this.#refs.set(id, ref);
		return { id, def: ref.definition };
	}

	async #solve(request: wire.SolveRequest): Promise<wire.SolveResponse> {
		for (const { Type: type, Attrs } of request.CacheImports) this.host.importCache({ type, attributes: Object.fromEntries(Attrs) });
		const result = await solve(this.host, {
			definition: request.Definition,
			frontend: request.Frontend,
			opts: Object.fromEntries(request.FrontendOpt),
			inputs: request.FrontendInputs,
			evaluate: request.Evaluate,
			policies: request.SourcePolicies,
		});
		const answer = this.#answer(result, request.allowResultArrayRef);
		if (answer.result?.$case === 'refs' || answer.result?.$case === 'refsDeprecated') {
			if (!request.allowResultReturn) throw new Error('solve did not return default result');
			return { ref: '', result: answer };
		}
		if (request.Final) this.#returnInline(request, result);
		const id = answer.result?.$case === 'ref' ? answer.result.ref.id : answer.result?.refDeprecated ?? scratchId;
		return { ref: request.allowResultReturn ? '' : id, result: answer };
	}

	/** @param structured refs with their definitions; older frontends know only ids */
	#answer({ result, metadata, attestations = new Map() }: FrontendOutput, structured: boolean): wire.Result {
		return {
			result: 'refs' in result ? this.#answerRefs(result.refs, structured) : this.#answerRef(result.ref, structured),
			metadata: new Map(metadata),
			attestations: new Map([...attestations].map(([platform, list]) => [
				platform, { attestation: list.map((attestation) => ({ ...attestation, ref: attestation.ref && this.#register(attestation.ref) })) },
			])),
		};
	}

	#answerRef(reference: BuildReference | undefined, structured: boolean): wire.Result['result'] {
		const ref = this.#register(reference);
		return structured ? { $case: 'ref', ref } : { $case: 'refDeprecated', refDeprecated: ref.id };
	}

	#answerRefs(references: ReadonlyMap<string, BuildReference | undefined>, structured: boolean): wire.Result['result'] {
		const refs = new Map([...references].map(([platform, reference]) => [platform, this.#register(reference)]));
		if (structured) return { $case: 'refs', refs: { refs } };
		return { $case: 'refsDeprecated', refsDeprecated: { refs: new Map([...refs].map(([platform, { id }]) => [platform, id])) } };
	}

	/** Frontends older than Return mark their last solve, with the metadata as JSON of base64. */
	#returnInline({ ExporterAttr }: wire.SolveRequest, output: FrontendOutput): void {
		const own = JSON.parse(text(ExporterAttr)) as Record<string, string>;
		const given = Object.entries(own).map(([key, value]): [string, Uint8Array] => [key, Buffer.from(value, 'base64')]);
		this.#finish({ ...output, metadata: new Map([...given, ...output.metadata]) });
	}

	async #resolveImageConfig(request: wire.ResolveImageConfigRequest): Promise<wire.ResolveImageConfigResponse> {
		const { host } = this;
		const layout = request.ResolverType === 1;
		const source: SourceOp = {
			identifier: `${layout ? 'oci-layout' : 'docker-image'}://${request.Ref}`,
			attrs: new Map(layout ? [['oci.session', request.SessionID], ['oci.store', request.StoreID]] : []),
		};
		const meta = await host.resolveImageConfig(source, { platform: this.#platform(request.Platform), resolveMode: request.ResolveMode, logName: request.LogName, policies: request.SourcePolicies });
		return { Ref: referenceAsAsked(meta, request.Ref), Digest: meta.digest, Config: meta.config };
	}

	#platform(platform: pb.Platform | undefined): ReturnType<typeof platformFromPb> {
		return platform ? platformFromPb(platform) : this.host.worker.platform;
	}

	#return({ result, error }: wire.ReturnRequest): wire.ReturnResponse {
		if (this.#isReturned) throw new Error('gateway result is already set');
		if (error) {
			this.fail(returnedError(errorOf(error)));
			return {};
		}
		if (!result) throw new Error('gateway return must be either result or err');
		this.#finish({ result: this.#returnedRefs(result), metadata: result.metadata, attestations: this.#returnedAttestations(result) });
		return {};
	}

	#returnedRefs({ result }: wire.Result): FrontendOutput['result'] {
		switch (result?.$case) {
			case 'ref': return { ref: this.#returnedRef(result.ref.id) };
			case 'refDeprecated': return { ref: this.#returnedRef(result.refDeprecated) };
			case 'refs': return { refs: new Map([...result.refs.refs].map(([platform, { id }]) => [platform, this.#returnedRef(id)])) };
			case 'refsDeprecated': return { refs: new Map([...result.refsDeprecated.refs].map(([platform, id]) => [platform, this.#returnedRef(id)])) };
			case undefined: return { ref: undefined };
		}
	}

	#returnedAttestations({ attestations }: wire.Result): Map<string, ResultAttestation[]> {
		return new Map([...attestations].map(([platform, { attestation }]) => [
			platform, attestation.map((one) => ({ ...one, ref: one.ref && this.#returnedRef(one.ref.id) })),
		]));
	}

	#returnedRef(id: string): BuildReference | undefined {
		const ref = this.#refs.get(id);
		if (!ref && id !== scratchId) throw new Error(`return reference ${id} not found`);
		return ref;
	}

	#finish(result: FrontendOutput): void {
		if (this.#isReturned) throw new Error('gateway result is already set');
		this.#isReturned = true;
		this.#settle.resolve(result);
	}
}

function text(bytes: Uint8Array): string {
	return Buffer.from(bytes).toString();
}

function fileRange(range: wire.FileRange | undefined): { offset: number; length: number } | undefined {
	return range && { offset: range.Offset, length: range.Length };
}

function fileStat({ path, mode, uid, gid, size, mtimeNs, linkname = '' }: FileEntry): NonNullable<wire.StatFileResponse['stat']> {
	return { path, mode, uid, gid, size, modTime: mtimeNs, linkname, devmajor: 0, devminor: 0, xattrs: new Map() };
}
