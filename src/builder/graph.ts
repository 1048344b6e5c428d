// A definition as the solver runs it: every vertex with its op.
import type { ErrorSource } from '../../frontend/index.js';
import { NetMode, SecurityMode, checkCapabilities, loadDefinition, type Definition, type Edge, type Vertex } from '../llb/index.js';
import { opFor, platformOf, type Worker } from '../ops/index.js';
import type { BuildSession } from '../session/index.js';
import type { SolverEdge, SolverVertex } from '../solver/index.js';
import type { SourceChoice } from './source-choice.js';

export interface SolverGraph {
	/** Undefined for an empty definition (scratch). */
	readonly result: SolverEdge<BuildSession> | undefined;
	readonly vertices: readonly Vertex[];
	/** The result and what its layers were made on, step below step. */
	readonly chain: readonly SolverEdge<BuildSession>[];
	/** Where a vertex was written, by its digest. */
	sourcesOf(digest: string): readonly ErrorSource[];
}

/**
 * A definition with an op for every vertex. `allow`: the entitlements the client granted. Throws
 * `failed to load LLB: ...`, for sources that may not be used too.
 */
export async function solverGraph(definition: Definition, worker: Worker, allow: readonly string[], sources: SourceChoice): Promise<SolverGraph> {
	const graph = await load(definition, worker, allow, sources);
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
			op: opFor(vertex, worker, async (inner) => (await solverGraph(inner, worker, allow, sources)).result),
			ignoreCache,
			...(sources.fingerprint !== '' && { variant: sources.fingerprint }),
			...(progressGroup && { progressGroup }),
		});
	}
	return {
		result: graph.result && edge(graph.result),
		vertices: graph.vertices,
		chain: baseChain(graph.result).map(edge),
		sourcesOf: (digest) => (graph.vertices.find((vertex) => vertex.digest === digest)?.locations ?? []).flatMap(({ sourceIndex, ranges }) => {
			const info = graph.sources[sourceIndex];
			return info ? [{ info, ranges }] : [];
		}),
	};
}

function baseChain(result: Edge | undefined): Edge[] {
	const chain: Edge[] = [];
	for (let edge = result; edge; edge = baseOf(edge.vertex)) chain.push(edge);
	return chain;
}

/** The input whose file system a vertex goes on from, where its first output does. */
function baseOf({ kind, inputs }: Vertex): Edge | undefined {
	switch (kind.$case) {
		case 'exec': return inputs[kind.exec.mounts.find((mount) => mount.dest === '/' && mount.output === 0)?.input ?? -1];
		case 'file': return inputs[kind.file.actions[0]?.input ?? -1];
		default: return undefined;
	}
}

async function load(definition: Definition, worker: Worker, allow: readonly string[], sources: SourceChoice): Promise<Graph> {
	try {
		const graph = await withChosenSources(loadDefinition(definition), worker, sources);
		for (const vertex of graph.vertices) {
			checkCapabilities(vertex.metadata);
			const missing = entitlements(vertex).find((entitlement) => !allow.includes(entitlement));
			if (missing !== undefined) throw new Error(`${missing} is not allowed`);
		}
		return graph;
	} catch (error) {
		throw new Error(`failed to load LLB: ${(error as Error).message}`, { cause: error });
	}
}

type Graph = ReturnType<typeof loadDefinition>;

/** The graph with the sources that may be used in place of those it names. */
async function withChosenSources(graph: Graph, worker: Worker, sources: SourceChoice): Promise<Graph> {
	if (sources.fingerprint === '') return graph;
	const chosen = new Map(await Promise.all(graph.vertices.flatMap((vertex) => {
		const { kind } = vertex;
		if (kind.$case !== 'source') return [];
		return [sources.choose(kind.source, platformOf(vertex, worker)).then((source): [Vertex, Vertex['kind']] => [vertex, { ...kind, source }])];
	})));
	const replaced = new Map<Vertex, Vertex>();
	const edge = ({ vertex, index }: Edge): Edge => ({ vertex: replaced.get(vertex) ?? vertex, index });
	for (const vertex of graph.vertices) replaced.set(vertex, { ...vertex, inputs: vertex.inputs.map(edge), kind: chosen.get(vertex) ?? vertex.kind });
	return { ...graph, vertices: graph.vertices.map((vertex) => replaced.get(vertex) ?? vertex), result: graph.result && edge(graph.result) };
}

/** What a client must have granted for a vertex to run. */
function entitlements({ kind }: Vertex): string[] {
	if (kind.$case !== 'exec') return [];
	return [
		...(kind.exec.network === NetMode.HOST ? ['network.host'] : []),
		...(kind.exec.security === SecurityMode.INSECURE ? ['security.insecure'] : []),
	];
}
