// Reading a definition that came from anywhere into a graph that can be walked without further checks.
import { digestOf } from './digest.js';
import type { Definition, FileAction, Location, Mount, OpMetadata, SourceInfo } from './gen/ops.js';
import { MountType, Op, OpMetadata as OpMetadataCodec } from './gen/ops.js';

export interface Edge {
	readonly vertex: Vertex;
	/** Which of the vertex's outputs. */
	readonly index: number;
}

export interface Vertex {
	readonly digest: string;
	/** `op.op` is set: the op that only names the result is no vertex. */
	readonly op: Op;
	readonly kind: NonNullable<Op['op']>;
	readonly inputs: readonly Edge[];
	readonly metadata: OpMetadata;
	/** What progress calls it. */
	readonly name: string;
	readonly locations: readonly Location[];
}

export interface Graph {
	/** Inputs before users. */
	readonly vertices: readonly Vertex[];
	/** undefined for an empty definition: scratch. */
	readonly result: Edge | undefined;
	readonly sources: readonly SourceInfo[];
}

/** A definition that cannot be run, with the place in it. */
export class DefinitionError extends Error {
	override readonly name = 'DefinitionError';
}

interface Decoded {
	readonly op: Op;
	readonly digest: string;
}

function decode(definition: Definition): Decoded[] {
	return definition.def.map((bytes, i) => {
		try {
			return { op: Op.decode(bytes), digest: digestOf(bytes) };
		} catch (cause) {
			throw new DefinitionError(`failed to parse llb proto op: entry ${i} of the definition (${bytes.length} bytes): ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
		}
	});
}

/**
 * Decodes and checks a definition: every input exists, nothing depends on itself, and every index an op
 * holds is in range. Digests are those of the bytes as they came, so an input that was changed after it
 * was referred to is a missing input.
 * @throws DefinitionError
 */
export function loadDefinition(definition: Definition): Graph {
	const sources = definition.Source?.infos ?? [];
	if (definition.def.length === 0) return { vertices: [], result: undefined, sources };
	const decoded = decode(definition);
	const last = decoded.at(-1);
	if (!last || last.op.op) throw new DefinitionError('invalid LLB: the last entry must name the result, but it is an operation');
	const target = last.op.inputs[0];
	if (!target) throw new DefinitionError('invalid LLB with no inputs on last vertex');
	const byDigest = new Map(decoded.slice(0, -1).map((entry) => [entry.digest, entry]));
	const vertices = new Map<string, Vertex>();
	for (const entry of sort(target.digest, byDigest)) vertices.set(entry.digest, makeVertex(entry, vertices, definition));
	return { vertices: [...vertices.values()], result: edge(target, last, vertices), sources };
}

/** What `start` needs, inputs before users. */
function sort(start: string, byDigest: ReadonlyMap<string, Decoded>): Decoded[] {
	const find = (digest: string): Decoded => {
		const entry = byDigest.get(digest);
		if (!entry) throw new DefinitionError(`invalid missing input digest ${digest}`);
		return entry;
	};
	const order: Decoded[] = [];
	const state = new Map<string, 'open' | 'done'>([[start, 'open']]);
	const stack = [{ entry: find(start), next: 0 }];
	for (let top = stack.at(-1); top; top = stack.at(-1)) {
		const input = top.entry.op.inputs[top.next++];
		if (!input) {
			state.set(top.entry.digest, 'done');
			order.push(top.entry);
			stack.pop();
			continue;
		}
		const seen = state.get(input.digest);
		if (seen === 'open') throw new DefinitionError(`invalid LLB: vertex ${input.digest} depends on itself`);
		if (seen === 'done') continue;
		state.set(input.digest, 'open');
		stack.push({ entry: find(input.digest), next: 0 });
	}
	return order;
}

function edge(input: Op['inputs'][number], user: Decoded, vertices: ReadonlyMap<string, Vertex>): Edge {
	const vertex = vertices.get(input.digest);
	if (!vertex) throw new DefinitionError(`invalid missing input digest ${input.digest}`);
	const outputs = outputCount(vertex.kind);
	if (input.index < 0 || input.index >= outputs) {
		throw new DefinitionError(`invalid input of ${user.digest}: output ${input.index} of ${input.digest}, which has ${outputs}`);
	}
	return { vertex, index: input.index };
}

function makeVertex(entry: Decoded, vertices: ReadonlyMap<string, Vertex>, definition: Definition): Vertex {
	const { op, digest } = entry;
	if (!op.op) throw new DefinitionError(`invalid LLB: vertex ${digest} has no operation`);
	const problem = check(op.op, op.inputs.length);
	if (problem) throw new DefinitionError(`invalid ${op.op.$case} op ${digest}: ${problem}`);
	const inputs = op.inputs.map((input) => edge(input, entry, vertices));
	const metadata = definition.metadata.get(digest) ?? OpMetadataCodec.create();
	return {
		digest,
		op,
		kind: op.op,
		inputs,
		metadata,
		name: metadata.description.get('llb.customname') ?? defaultName(op.op, inputs),
		locations: definition.Source?.locations.get(digest)?.locations ?? [],
	};
}

/** Outputs of the mounts that have one. Clients leave `output` of secrets and ssh sockets at 0: it means nothing there. */
function mountOutputs(mounts: readonly Mount[]): number[] {
	return mounts.filter((mount) => mount.mountType === MountType.BIND && mount.output !== -1).map((mount) => mount.output);
}

/** How many outputs an operation has. A file op has as many as the highest its actions give; the others one. */
function outputCount(kind: Vertex['kind']): number {
	switch (kind.$case) {
		case 'exec': return Math.max(-1, ...mountOutputs(kind.exec.mounts)) + 1;
		case 'file': return Math.max(...kind.file.actions.map((action) => action.output)) + 1;
		case 'passthrough': return kind.passthrough.outputs.length;
		default: return 1;
	}
}

/** What is wrong with an op that has `count` inputs, if anything. */
function check(kind: Vertex['kind'], count: number): string | undefined {
	const input = (index: number): string | undefined => (index < -1 || index >= count ? `input ${index} of ${count}` : undefined);
	switch (kind.$case) {
		case 'source':
			return kind.source.identifier === '' ? 'source identifier can\'t be empty' : undefined;
		case 'exec': {
			const { meta, mounts } = kind.exec;
			if (!meta) return 'no meta';
			if (meta.args.length === 0) return 'no args';
			if (meta.cwd === '') return 'working directory is required';
			if (mounts.length === 0) return 'no mounts';
			if (!mounts.some((mount) => mount.dest === '/')) return 'no rootfs';
			const outputs = mountOutputs(mounts).sort((a, b) => a - b);
			if (outputs.some((output, i) => output !== i)) return `outputs of its mounts are ${outputs.join(', ')}`;
			return firstOf(mounts, (mount) => input(mount.input));
		}
		case 'file': {
			const { actions } = kind.file;
			if (actions.length === 0) return 'no actions';
			return firstOf(actions, (action, i) => checkAction(action, count + i));
		}
		case 'merge': {
			if (kind.merge.inputs.length === 0) return 'no inputs';
			return firstOf(kind.merge.inputs, (one) => input(one.input));
		}
		case 'diff': {
			if (!kind.diff.lower || !kind.diff.upper) return 'nil lower or upper input';
			return input(kind.diff.lower.input) ?? input(kind.diff.upper.input);
		}
		case 'build':
			return input(kind.build.builder) ?? firstOf([...kind.build.inputs.values()], (one) => input(one.input));
		case 'passthrough': {
			const { id, outputs } = kind.passthrough;
			if (id === '') return 'no id';
			if (outputs.length === 0) return 'no outputs';
			return firstOf(outputs, (index) => (index < 0n ? 'a negative input' : input(Number(index))));
		}
	}
}

/** An action may use the op's inputs and the results of the actions before it: `limit` in all. */
function checkAction(action: FileAction, limit: number): string | undefined {
	if (!action.action) return 'an action of an unknown kind';
	for (const index of [action.input, action.secondaryInput]) {
		if (index < -1 || index >= limit) return `input ${index} of an action that has ${limit}`;
	}
	return action.output < -1 ? `output ${action.output} of an action` : undefined;
}

function firstOf<T>(items: readonly T[], problem: (item: T, index: number) => string | undefined): string | undefined {
	for (const [i, item] of items.entries()) {
		const found = problem(item, i);
		if (found) return found;
	}
	return undefined;
}

function defaultName(kind: Vertex['kind'], inputs: readonly Edge[]): string {
	const side = (index: number): string => (index === -1 ? 'scratch' : `(${inputs[index]?.vertex.name ?? ''})`);
	switch (kind.$case) {
		case 'source': return kind.source.identifier;
		case 'exec': return kind.exec.meta?.args.join(' ') ?? '';
		case 'file': return kind.file.actions.map(actionName).join(', ');
		case 'build': return 'build';
		case 'merge': return `merge (${inputs.map((one) => one.vertex.name).join(', ')})`;
		case 'diff': return `diff ${side(kind.diff.lower?.input ?? -1)} -> ${side(kind.diff.upper?.input ?? -1)}`;
		case 'passthrough': return `passthrough ${kind.passthrough.id}`;
	}
}

function actionName({ action }: FileAction): string {
	switch (action?.$case) {
		case 'mkdir': return `mkdir ${action.mkdir.path}`;
		case 'mkfile': return `mkfile ${action.mkfile.path}`;
		case 'symlink': return `symlink ${action.symlink.newpath} -> ${action.symlink.oldpath}`;
		case 'rm': return `rm ${action.rm.path}`;
		case 'copy': return `copy ${action.copy.src} ${action.copy.dest}`;
		case undefined: return '';
	}
}
