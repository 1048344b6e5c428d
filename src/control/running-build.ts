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

	/** What the frontend comes to. Ends what it left running, once `use` is done with it; `refs`: the frontend's ids of it. */
	async returned(use: (output: FrontendOutput, refs: readonly string[]) => Promise<void>): Promise<FrontendOutput> {
		const { signal } = this.host;
		const stop = (): void => { this.#bridge.fail(signal.reason); };
		signal.addEventListener('abort', stop, { once: true });
		try {
			signal.throwIfAborted();
			const output = await this.#bridge.returned;
			await use(output, this.#bridge.idsOf(output));
			return output;
		} finally {
			signal.removeEventListener('abort', stop);
			await this.#bridge.close();
		}
	}
}

/** Builds by their ref: LLBBridge calls wait here for the build they belong to. */
export class RunningBuilds extends Registry<RunningBuild> {}
