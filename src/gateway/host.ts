// What a build offers to the frontend that drives it, wherever that runs.
import type { FrontendClient } from '../../frontend/index.js';
import type { Definition, SourceOp } from '../llb/index.js';
import type { LeftResult, Worker } from '../ops/index.js';
import type { BuildSession } from '../session/index.js';
import type { SourceMeta } from '../sources/index.js';
import type { Policy as SourcePolicy } from './gen/sourcepolicy.js';
import type { WorkerRecord } from './gen/worker.js';
import type { BuildReference } from './reference.js';

type ImageOptions = Parameters<FrontendClient['resolveImageConfig']>[1];

/** What a frontend is asked. */
export interface AskedRequest {
	/** `dockerfile.v0`, ... */
	readonly frontend: string;
	readonly attributes: Readonly<Record<string, string>>;
	readonly inputs: ReadonlyMap<string, Definition>;
}

export interface GatewayHost extends Pick<FrontendClient, 'warn'> {
	readonly worker: Worker;
	/** What the client lends. */
	readonly session: BuildSession;
	/** The client's name of it; '' when the client is this process. */
	readonly sessionId: string;
	/** Ends with the build. */
	readonly signal: AbortSignal;
	/** What Ping says of the builder. */
	readonly workers: readonly WorkerRecord[];
	/** Entitlements the client granted: `network.host`, `security.insecure`. */
	readonly allow: readonly string[];
	/** `policies`: beside the build's. */
	resolveImageConfig(source: SourceOp, options: ImageOptions & { readonly policies?: readonly SourcePolicy[] }): ReturnType<FrontendClient['resolveImageConfig']>;
	/** `objects`: git's commit and tag themselves too (default). `policies`: beside the build's. */
	resolveSourceMeta(source: SourceOp, options: { readonly logName: string; readonly objects?: boolean; readonly policies?: readonly SourcePolicy[] }): Promise<SourceMeta>;
	/** Looks for what is to be solved in this cache, too. */
	importCache(request: { readonly type: string; readonly attributes: Readonly<Record<string, string>> }): void;
	/** Makes something a failed step left available to the frontends of this build. Gives its id. */
	offer(left: LeftResult): string;
	/** What was offered under an id. */
	offered(id: string): LeftResult | undefined;
	/** A frontend is about to answer. */
	asked(request: AskedRequest): void;
	/** A frontend has answered, with what these definitions stand for. */
	answered(request: AskedRequest, definitions: readonly Definition[]): void;
	/** A definition, to be solved when it is wanted; undefined for an empty one (scratch). `policies`: of its own, beside the build's. Throws `failed to load LLB: ...`. */
	reference(definition: Definition, policies?: readonly SourcePolicy[]): Promise<BuildReference | undefined>;
}
