// A build in flight whose frontend is somebody else: the client, over LLBBridge. Control.Solve makes it and
// exports what LLBBridge/Return brings.
import type { Build, FrontendOutput } from '../builder/index.js';
import { Registry } from '../grpc/index.js';
import type { SolveRequest } from './gen/control.js';

export class RunningBuild {
	/** What the frontend came to. */
	readonly returned: Promise<FrontendOutput>;
	#resolve: (output: FrontendOutput) => void = () => undefined;
	#reject: (error: unknown) => void = () => undefined;

	constructor(
		/** What Control.Solve was asked for: the frontend's options and inputs are in it. */
		readonly request: SolveRequest,
		readonly build: Build,
	) {
		this.returned = new Promise((resolve, reject) => {
			this.#resolve = resolve;
			this.#reject = reject;
		});
		this.returned.catch(() => undefined); // Control.Solve may have given up
	}

	get ref(): string {
		return this.request.Ref;
	}

	/** Ends the frontend's part; later calls are ignored. */
	finish(output: FrontendOutput): void {
		this.#resolve(output);
	}

	/** The frontend gave up. */
	fail(error: unknown): void {
		this.#reject(error);
	}
}

/** Builds by their ref: LLBBridge calls wait here for the build they belong to. */
export class RunningBuilds extends Registry<RunningBuild> {}
