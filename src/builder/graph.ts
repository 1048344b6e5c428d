// A definition as the solver runs it: every vertex with its op.
import { loadDefinition, type Definition, type Edge, type Vertex } from '../llb/index.js';
import { opFor, type Worker } from '../ops/index.js';
import type { BuildSession } from '../session/index.js';
import type { SolverEdge, SolverVertex } from '../solver/index.js';

/** The result edge of a definition, undefined for an empty one (scratch). Throws DefinitionError. */
export function solverGraph(definition: Definition, worker: Worker): SolverEdge<BuildSession> | undefined {
	const graph = loadDefinition(definition);
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
