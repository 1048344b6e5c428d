// Who makes LLB for a build: a definition that was handed in, the built-in Dockerfile frontend, or a frontend image.
import { solveDockerfile, type Build, type FrontendOutput } from '../builder/index.js';
import type { Definition } from '../llb/index.js';

export interface FrontendRequest {
	readonly definition: Definition | undefined;
	/** `dockerfile.v0`, `gateway.v0`; '' for the definition itself. */
	readonly frontend: string;
	readonly attributes: ReadonlyMap<string, string>;
	readonly inputs: ReadonlyMap<string, Definition>;
	/** Has the client's local sources. */
	readonly sessionId: string;
}

/** What a frontend comes to, not run yet where it need not be. */
export async function solveFrontend(build: Build, { definition, frontend, attributes, inputs, sessionId }: FrontendRequest): Promise<FrontendOutput> {
	if (definition && definition.def.length > 0) {
		if (frontend !== '') throw new Error(`cannot solve with both Definition and Frontend specified`);
		return { result: { ref: build.reference(definition) }, metadata: new Map() };
	}
	switch (frontend) {
		case '': return { result: { ref: undefined }, metadata: new Map() };
		case 'dockerfile.v0': return solveDockerfile(build, { attributes: Object.fromEntries(attributes), inputs, sessionId });
		default: throw new Error(`invalid frontend: ${frontend}`);
	}
}
