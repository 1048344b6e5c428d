// The build op: a definition that lies in a file of an earlier result, solved as a part of the same build.
import { createHash } from 'node:crypto';
import { pb, type Definition } from '../llb/index.js';
import { readFileInRoot } from '../native/files.js';
import type { BuildSession } from '../session/index.js';
import { scratch } from '../snapshot/index.js';
import type { CacheMap, Op, OpContext, Result, SolverEdge } from '../solver/index.js';
import { withTree } from './content.js';
import { SnapshotResult } from './result.js';
import type { Worker } from './worker.js';

const definitionInput = 'buildkit.llb.definition';
const filenameAttribute = 'llbbuild.filename';
const maxDefinitionBytes = 64 * 1024 * 1024;

/** Makes a definition ready to be solved; undefined for an empty one (scratch). */
export type LoadDefinition = (definition: Definition) => Promise<SolverEdge<BuildSession> | undefined>;

export class BuildOp implements Op<BuildSession> {
	constructor(private readonly worker: Worker, private readonly op: pb.BuildOp, private readonly inputCount: number, private readonly load: LoadDefinition) {}

	cacheMap(): Promise<CacheMap> {
		const digest = createHash('sha256').update('obd.build.v1').update(pb.BuildOp.encode(this.op).finish()).digest('hex');
		return Promise.resolve({ digest: `sha256:${digest}`, inputs: Array.from({ length: this.inputCount }, () => ({})) });
	}

	async run(context: OpContext<BuildSession>, inputs: readonly Result[]): Promise<readonly Result[]> {
		if (this.op.builder !== -1) throw new Error('only LLB builder is currently allowed');
		const source = this.op.inputs.get(definitionInput);
		if (!source) throw new Error(`no llb definition input ${definitionInput} found`);
		const input = inputs[source.input];
		if (!input) throw new Error(`invalid index ${source.input}`);
		const file = this.op.attrs.get(filenameAttribute) ?? definitionInput;
		const bytes = await withTree(this.worker, input, context.signal, ({ root }) => readFileInRoot(root, file, { maxBytes: maxDefinitionBytes }));
		const edge = await this.load(decode(bytes, file));
		return [edge ? await context.solve(edge) : new SnapshotResult(scratch)];
	}
}

function decode(bytes: Uint8Array, file: string): Definition {
	try {
		return pb.Definition.decode(bytes);
	} catch (error) {
		throw new Error(`${file} is no LLB definition: ${(error as Error).message}`, { cause: error });
	}
}
