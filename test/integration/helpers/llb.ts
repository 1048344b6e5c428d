// Solves LLB on a store of the test's own, in the test's process, and gives the result's files.
import { mkdtemp } from 'node:fs/promises';
import path from 'node:path';
import { Builder } from '../../../src/builder/index.js';
import { solverGraph } from '../../../src/builder/graph.js';
import { SourceChoice } from '../../../src/builder/source-choice.js';
import { SourcePolicies } from '../../../src/builder/source-policy.js';
import { LocalSession } from '../../../src/builder/session.js';
import { marshal, type Definition, type State } from '../../../src/llb/index.js';
import { toSnapshot } from '../../../src/ops/index.js';
import { VertexReporter, type SolveStatus } from '../../../src/solver/index.js';
import type { TestStore } from './obd.js';

export interface Solved {
	/** The result's files. */
	readonly directory: string;
	/** Names of the vertices that ran, not from the cache. */
	readonly ran: readonly string[];
}

export interface SolveOptions {
	readonly localDirectories?: Readonly<Record<string, string>>;
	readonly allow?: readonly string[];
}

export function solveState(store: TestStore, state: State, options: SolveOptions = {}): Promise<Solved> {
	return solveDefinition(store, marshal(state), options);
}

export async function solveDefinition(store: TestStore, definition: Definition, { localDirectories = {}, allow = [] }: SolveOptions = {}): Promise<Solved> {
	const builder = await Builder.open({ root: store.root, insecureRegistries: [] });
	try {
		const session = new LocalSession({ localDirectories, secrets: {}, ssh: {}, contentStores: {} }, (directory) => builder.statCache(directory));
		const ran = new Map<string, boolean>();
		const follow = ({ vertexes = [] }: SolveStatus): void => {
			for (const { name, completed, cached = false, error } of vertexes) if (completed && !error) ran.set(name, !cached);
		};
		const job = builder.solver.job(session, follow);
		const { signal } = new AbortController();
		try {
			const graph = await solverGraph(definition, builder.worker, allow, new SourceChoice(new SourcePolicies([]), undefined));
			const directory = await mkdtemp(path.join(store.directory, 'solved-'));
			if (graph.result) {
				const snapshot = await toSnapshot(builder.worker, await job.solve(graph.result), signal);
				const platform = { os: 'linux', architecture: 'amd64' };
				const reporter = new VertexReporter({ digest: 'export', name: 'export', inputs: [] });
				const config = { os: 'linux', architecture: 'amd64', rootfs: { type: 'layers', diff_ids: [] } };
				await builder.exporter.run({ type: 'local', attributes: {}, destination: directory }, { platforms: [{ id: 'linux/amd64', platform, snapshot, config }], multiPlatform: false }, { signal, reporter });
			}
			return { directory, ran: [...ran].filter(([, done]) => done).map(([name]) => name) };
		} finally {
			job.close();
		}
	} finally {
		await builder.close();
	}
}
