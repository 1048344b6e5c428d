// From states to the form that goes over the wire, and back to states.
import { randomUUID } from 'node:crypto';
import type { SourceLocation, SourceMap } from './constraints.js';
import { mergeMetadata, platformFromPb, SourceMapCollector } from './constraints.js';
import { digestOf } from './digest.js';
import { Definition, Op, OpMetadata } from './gen/ops.js';
import type { Platform } from './platform.js';
import { hostPlatform } from './platform.js';
import { scratch, State } from './state.js';
import type { MarshalContext, Marshalled, Output, Vertex } from './vertex.js';
import { toInput } from './vertex.js';

export interface MarshalOptions {
	/** For vertices that say none themselves; default the host's. */
	readonly platform?: Platform;
	/** Keeps local sources of different builds apart; default random. */
	readonly localUniqueId?: string;
	/** LLB capabilities of the daemon; undefined when it knows all. */
	readonly caps?: ReadonlySet<string>;
}

/** Inputs before users, each vertex once. Not recursive: a stage may be thousands of steps long. */
function inOrder(start: Vertex): Vertex[] {
	const order: Vertex[] = [];
	const seen = new Set<Vertex>([start]);
	const stack = [{ vertex: start, inputs: start.inputs(), next: 0 }];
	for (let top = stack.at(-1); top; top = stack.at(-1)) {
		const input = top.inputs[top.next++]?.vertex;
		if (input === undefined) {
			order.push(top.vertex);
			stack.pop();
		} else if (!seen.has(input)) {
			seen.add(input);
			stack.push({ vertex: input, inputs: input.inputs(), next: 0 });
		}
	}
	return order;
}

/** The definition of a state: scratch gives an empty one. The same state gives the same bytes (given localUniqueId). */
export function marshal(state: State, options: MarshalOptions = {}): Definition {
	const definition = Definition.create();
	if (!state.output) return definition;
	const context: MarshalContext = {
		platform: options.platform ?? hostPlatform(),
		localUniqueId: options.localUniqueId ?? randomUUID().replaceAll('-', ''),
		...(options.caps ? { caps: options.caps } : {}),
		done: new Map(),
	};
	const collector = new SourceMapCollector();
	const seen = new Set<string>();
	for (const vertex of inOrder(state.output.vertex)) {
		const marshalled = vertex.marshal(context);
		context.done.set(vertex, marshalled);
		addVertex(definition, marshalled, seen);
		collector.add(marshalled.digest, marshalled.locations);
	}
	const last = Op.encode(Op.create({ inputs: [toInput(state.output, context)] })).finish();
	definition.def.push(last);
	definition.metadata.set(digestOf(last), resultMetadata(definition));
	definition.Source = {
		locations: new Map([...collector.locations].map(([digest, locations]) => [digest, { locations }])),
		infos: collector.maps.map((map) => ({
			filename: map.filename,
			data: map.data,
			language: map.language,
			definition: map.definition ?? (map.state && marshal(map.state, options)),
		})),
	};
	return definition;
}

function addVertex(definition: Definition, { digest, bytes, metadata }: Marshalled, seen: Set<string>): void {
	const known = definition.metadata.get(digest);
	if (known) mergeMetadata(known, metadata);
	else definition.metadata.set(digest, metadata);
	if (seen.has(digest)) return;
	seen.add(digest);
	definition.def.push(bytes);
}

/** Capabilities the definition needs as a whole. */
function resultMetadata(definition: Definition): OpMetadata {
	const metadata = OpMetadata.create();
	const all = [...definition.metadata.values()];
	const caps = ['constraints', 'platform'];
	if (all.some((one) => one.ignoreCache)) caps.push('meta.ignorecache');
	if (all.some((one) => one.description.size > 0)) caps.push('meta.description');
	if (all.some((one) => one.exportCache)) caps.push('meta.exportcache');
	for (const cap of caps) metadata.caps.set(cap, true);
	return metadata;
}

/** A vertex that was marshalled elsewhere and goes into another definition as it is. */
class DecodedVertex implements Vertex {
	constructor(readonly marshalled: Marshalled, readonly outputs: readonly Output[]) {}

	inputs(): readonly Output[] {
		return this.outputs;
	}

	marshal(): Marshalled {
		return this.marshalled;
	}
}

/**
 * The state a definition was made of, to build on.
 * @throws Error when the definition is damaged.
 */
export function stateFromDefinition(definition: Definition): State {
	if (definition.def.length === 0) return scratch();
	const maps = (definition.Source?.infos ?? []).map((info): SourceMap => ({
		filename: info.filename, language: info.language, data: info.data,
		...(info.definition ? { definition: info.definition } : {}),
	}));
	const vertices = new Map<string, { vertex: DecodedVertex; platform?: Platform }>();
	const outputOf = (digest: string, index: number): Output => {
		const found = vertices.get(digest);
		if (!found) throw new Error(`invalid missing input digest ${digest}`);
		return { vertex: found.vertex, index, ...(found.platform ? { platform: found.platform } : {}) };
	};
	let result: Output | undefined;
	for (const bytes of definition.def) {
		const op = Op.decode(bytes);
		const digest = digestOf(bytes);
		if (!op.op) {
			const input = op.inputs[0];
			if (input) result = outputOf(input.digest, input.index);
			continue;
		}
		const locations = (definition.Source?.locations.get(digest)?.locations ?? []).flatMap(({ sourceIndex, ranges }): SourceLocation[] => {
			const sourceMap = maps[sourceIndex];
			return sourceMap ? [{ sourceMap, ranges }] : [];
		});
		const metadata = definition.metadata.get(digest) ?? OpMetadata.create();
		vertices.set(digest, {
			vertex: new DecodedVertex({ digest, bytes, metadata, locations }, op.inputs.map((input) => outputOf(input.digest, input.index))),
			...(op.platform ? { platform: platformFromPb(op.platform) } : {}),
		});
	}
	if (!result) throw new Error('invalid LLB with no inputs on last vertex');
	return State.from(result);
}
