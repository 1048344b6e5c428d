// LLBBridge on the control socket: the client as frontend of its own build. Which build, the metadata says.
import { BuildReference, type FrontendOutput } from '../builder/index.js';
import { Code, RpcError, errorOf, type Handlers, type ServerCall } from '../grpc/index.js';
import { buildError } from './errors.js';
import { solveFrontend } from './frontends.js';
import { LLBBridgeDefinition, Result, type PongResponse, type Ref, type SolveRequest } from '../gateway/gen/gateway.js';
import type { RunningBuild, RunningBuilds } from './running-build.js';

const buildIdHeader = 'buildkit-controlapi-buildid';

/** References by the ids a frontend knows them by. */
class Bridge {
	readonly #references = new Map<string, BuildReference>();

	constructor(readonly running: RunningBuild) {}

	async solve(request: SolveRequest): Promise<Result> {
		const { build } = this.running;
		const output = await solveFrontend(build, {
			definition: request.Definition,
			frontend: request.Frontend,
			attributes: request.FrontendOpt,
			inputs: request.FrontendInputs,
			sessionId: this.running.request.Session,
		});
		if (request.Evaluate) await Promise.all(refsOf(output).map((ref) => ref?.result()));
		return this.#message(output);
	}

	output(result: Result): FrontendOutput {
		const { metadata } = result;
		switch (result.result?.$case) {
			case 'refs': return { result: { refs: new Map([...result.result.refs.refs].map(([id, ref]) => [id, this.#find(ref.id)])) }, metadata };
			case 'ref': return { result: { ref: this.#find(result.result.ref.id) }, metadata };
			default: return { result: { ref: undefined }, metadata };
		}
	}

	#find(id: string): BuildReference | undefined {
		if (id === '') return undefined;
		const reference = this.#references.get(id);
		if (!reference) throw new RpcError(Code.NOT_FOUND, `return reference ${id} not found`);
		return reference;
	}

	#message({ result, metadata }: FrontendOutput): Result {
		return Result.create({
			result: 'refs' in result
				? { $case: 'refs', refs: { refs: new Map([...result.refs].map(([id, ref]) => [id, this.#ref(ref)])) } }
				: { $case: 'ref', ref: this.#ref(result.ref) },
			metadata: new Map([...metadata].map(([key, value]) => [key, Buffer.from(value)])),
		});
	}

	#ref(reference: BuildReference | undefined): Ref {
		if (!reference) return { id: '', def: undefined };
		const id = `r${this.#references.size}`;
		this.#references.set(id, reference);
		return { id, def: reference.definition };
	}
}

function refsOf({ result }: FrontendOutput): readonly (BuildReference | undefined)[] {
	return 'refs' in result ? [...result.refs.values()] : [result.ref];
}

/** Handlers for the control socket. `pong`: what a Ping is answered with. */
export function bridgeHandlers(builds: RunningBuilds, pong: PongResponse): Handlers<typeof LLBBridgeDefinition> {
	const bridges = new WeakMap<RunningBuild, Bridge>();
	const bridgeOf = async ({ metadata, signal }: ServerCall): Promise<Bridge> => {
		const ref = metadata.get(buildIdHeader);
		if (ref === undefined) throw new RpcError(Code.INVALID_ARGUMENT, 'no buildid found in context');
		const running = await builds.wait(ref, signal);
		if (!running) throw new RpcError(Code.CANCELED, `no such job ${ref}`);
		let bridge = bridges.get(running);
		if (!bridge) bridges.set(running, bridge = new Bridge(running));
		return bridge;
	};
	return {
		ping: async (_request, call) => {
			await bridgeOf(call);
			return pong;
		},
		solve: async (request, call) => {
			const bridge = await bridgeOf(call);
			try {
				return { ref: '', result: await bridge.solve(request) };
			} catch (error) {
				throw buildError(error);
			}
		},
		return: async ({ result, error }, call) => {
			const bridge = await bridgeOf(call);
			if (error) bridge.running.fail(errorOf(error));
			else bridge.running.finish(bridge.output(result ?? Result.create()));
			return {};
		},
	};
}
