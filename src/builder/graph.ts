// A definition as the solver runs it: every vertex with its op.
import { NetMode, SecurityMode, loadDefinition, type Definition, type Edge, type Vertex } from '../llb/index.js';
import { opFor, type Worker } from '../ops/index.js';
import type { BuildSession } from '../session/index.js';
import type { SolverEdge, SolverVertex } from '../solver/index.js';

/**
 * The result edge of a definition, undefined for an empty one (scratch). `allow`: the entitlements the client
 * granted. Throws `failed to load LLB: ...`.
 */
export function solverGraph(definition: Definition, worker: Worker, allow: readonly string[]): SolverEdge<BuildSession> | undefined {
	const graph = load(definition, allow);
	const vertices = new Map<Vertex, SolverVertex<BuildSession>>();
	const edge = ({ vertex, index }: Edge): SolverEdge<BuildSession> => {
		const known = vertices.get(vertex);
		if (!known) throw new Error(`vertex ${vertex.digest} used before it was defined`);
		return { vertex: known, index };
	};
	for (const vertex of graph.vertices) {
		const { progressGroup, ignoreCache } = vertex.metadata;
		vertices.set(vertex, {
			digest: vertex.digest,
			name: vertex.name,
			inputs: vertex.inputs.map(edge),
			op: opFor(vertex, worker),
			ignoreCache,
			...(progressGroup && { progressGroup }),
		});
	}
	return graph.result && edge(graph.result);
}

function load(definition: Definition, allow: readonly string[]): ReturnType<typeof loadDefinition> {
	try {
		const graph = loadDefinition(definition);
		for (const vertex of graph.vertices) {
			const missing = entitlements(vertex).find((entitlement) => !allow.includes(entitlement));
			if (missing !== undefined) throw new Error(`${missing} is not allowed`);
		}
		return graph;
	} catch (error) {
		throw new Error(`failed to load LLB: ${(error as Error).message}`, { cause: error });
	}
}

/** What a client must have granted for a vertex to run. */
function entitlements({ kind }: Vertex): string[] {
	if (kind.$case !== 'exec') return [];
	return [
		...(kind.exec.network === NetMode.HOST ? ['network.host'] : []),
		...(kind.exec.security === SecurityMode.INSECURE ? ['security.insecure'] : []),
	];
}
