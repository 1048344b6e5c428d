// A build in flight whose frontend is the client, over LLBBridge. Control.Solve makes it and exports what
// LLBBridge/Return brings.
import { Bridge, type FrontendOutput, type GatewayHost, type LLBBridgeDefinition } from '../gateway/index.js';
import { Registry, type Handlers } from '../grpc/index.js';
import type { Definition } from '../llb/index.js';

export class RunningBuild {
	readonly handlers: Required<Handlers<typeof LLBBridgeDefinition>>;
	readonly #bridge: Bridge;

	/** @param ref the client's name of the build @param inputs definitions the client gives itself */
	constructor(readonly ref: string, private readonly host: GatewayHost, inputs: ReadonlyMap<string, Definition>) {
		this.#bridge = new Bridge(host, inputs);
		this.handlers = this.#bridge.handlers;
	}

	/** What the frontend comes to. Ends what it left running. */
	async returned(): Promise<FrontendOutput> {
		const { signal } = this.host;
		const stop = (): void => { this.#bridge.fail(signal.reason); };
		signal.addEventListener('abort', stop, { once: true });
		try {
			signal.throwIfAborted();
			return await this.#bridge.returned;
		} finally {
			signal.removeEventListener('abort', stop);
			await this.#bridge.close();
		}
	}
}

/** Builds by their ref: LLBBridge calls wait here for the build they belong to. */
export class RunningBuilds extends Registry<RunningBuild> {}
