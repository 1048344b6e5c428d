// LLBBridge on the control socket: the client as frontend of its own build. Which build, the metadata says.
import { LLBBridgeDefinition } from '../gateway/index.js';
import { Code, RpcError, type Handlers, type ServerCall } from '../grpc/index.js';
import type { RunningBuild, RunningBuilds } from './running-build.js';

/** Milliseconds a call may come before its build. */
const patience = 3000;

const buildIdHeader = 'buildkit-controlapi-buildid';

type AnyHandler = (request: unknown, call: ServerCall, send: unknown) => unknown;

/** Handlers for the control socket: each waits for the build it belongs to, and is that build's own. */
export function bridgeHandlers(builds: RunningBuilds): Handlers<typeof LLBBridgeDefinition> {
	const buildOf = async ({ metadata, signal }: ServerCall): Promise<RunningBuild> => {
		const ref = metadata.get(buildIdHeader);
		if (ref === undefined) throw new RpcError(Code.INVALID_ARGUMENT, 'no buildid found in context');
		const running = await builds.wait(ref, signal, patience);
		if (!running) throw new RpcError(Code.NOT_FOUND, `no such job ${ref}`);
		return running;
	};
	const names = Object.keys(LLBBridgeDefinition.methods) as (keyof typeof LLBBridgeDefinition.methods)[];
	return Object.fromEntries(names.map((name): [string, AnyHandler] => [name, async (request, call, send) => {
		const handler = (await buildOf(call)).handlers[name] as AnyHandler;
		return handler(request, call, send);
	}]));
}
