// Putting file systems together and taking them apart.
import type { Constraints } from './constraints.js';
import type { Definition, Input } from './gen/ops.js';
import { BuildOp } from './gen/ops.js';
import { scratch, State } from './state.js';
import type { MarshalContext, Marshalled, Output, Vertex } from './vertex.js';
import { addInput, seal, sortedMap, toInput } from './vertex.js';

class MergeVertex implements Vertex {
	constructor(readonly outputs: readonly Output[], readonly constraints: Constraints) {}

	inputs(): readonly Output[] {
		return this.outputs;
	}

	marshal(context: MarshalContext): Marshalled {
		const inputs = this.outputs.map((output) => toInput(output, context));
		return seal({ $case: 'merge', merge: { inputs: inputs.map((_, input) => ({ input })) } }, inputs, this.constraints, undefined, ['mergeop']);
	}
}

/** All of them on top of each other, first at the bottom. Empty ones do not count. */
export function merge(states: readonly State[], constraints: Constraints = {}): State {
	const filled = states.filter((state) => state.output);
	const [first] = filled;
	if (!first) return scratch();
	if (filled.length === 1) return first;
	return first.withOutput({ vertex: new MergeVertex(filled.flatMap((state) => state.output ?? []), constraints), index: 0 });
}

class DiffVertex implements Vertex {
	constructor(readonly lower: Output, readonly upper: Output | undefined, readonly constraints: Constraints) {}

	inputs(): Output[] {
		return this.upper ? [this.lower, this.upper] : [this.lower];
	}

	marshal(context: MarshalContext): Marshalled {
		const inputs = this.inputs().map((output) => toInput(output, context));
		return seal({ $case: 'diff', diff: { lower: { input: 0 }, upper: { input: this.upper ? 1 : -1 } } }, inputs, this.constraints, undefined, ['diffop']);
	}
}

/** What it takes to get from `lower` to `upper`. */
export function diff(lower: State, upper: State, constraints: Constraints = {}): State {
	if (!lower.output) return upper.output ? upper : scratch();
	return lower.withOutput({ vertex: new DiffVertex(lower.output, upper.output, constraints), index: 0 });
}

export interface BuildOptions extends Constraints {
	/** File the definition is in; default buildkit.llb.definition. */
	readonly filename?: string;
	readonly definition?: Definition;
}

class BuildVertex implements Vertex {
	constructor(readonly source: Output | undefined, readonly options: BuildOptions) {}

	inputs(): Output[] {
		return this.source ? [this.source] : [];
	}

	marshal(context: MarshalContext): Marshalled {
		const inputs: Input[] = [];
		const { filename, definition } = this.options;
		const build = BuildOp.create({
			builder: -1,
			inputs: this.source ? new Map([['buildkit.llb.definition', { input: addInput(inputs, this.source, context) }]]) : new Map(),
			attrs: sortedMap(filename ? [['llbbuild.filename', filename]] : []),
		});
		build.def = definition;
		return seal({ $case: 'build', build }, inputs, this.options, undefined, filename ? ['source.buildop.llbfilename'] : []);
	}
}

/** The result of the LLB definition found in `state` (or given in the options). */
export function build(state: State, options: BuildOptions = {}): State {
	return State.from({ vertex: new BuildVertex(state.output, options), index: 0 });
}
