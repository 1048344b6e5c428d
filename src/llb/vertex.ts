// A vertex being built: what State points at and marshal walks.
import type { Digest } from './digest.js';
import { digestOf } from './digest.js';
import type { Constraints, SourceLocation } from './constraints.js';
import { opMetadata, platformToPb } from './constraints.js';
import type { Input, OpMetadata } from './gen/ops.js';
import { Op } from './gen/ops.js';
import { compareBytes } from './order.js';
import type { Platform } from './platform.js';

export interface Marshalled {
	readonly digest: Digest;
	readonly bytes: Uint8Array;
	readonly metadata: OpMetadata;
	readonly locations: readonly SourceLocation[];
}

/** What vertices need to know while they are marshalled, and what was marshalled so far. */
export interface MarshalContext {
	/** For vertices that say none themselves. */
	readonly platform: Platform;
	/** Keeps local sources of different builds apart. */
	readonly localUniqueId: string;
	/** LLB capabilities of the daemon the definition is for; undefined when it knows all. */
	readonly caps?: ReadonlySet<string>;
	readonly done: Map<Vertex, Marshalled>;
}

export interface Vertex {
	inputs(): readonly Output[];
	/** Called once a context, after all inputs. */
	marshal(context: MarshalContext): Marshalled;
}

/** One result of a vertex: what another can take as input. */
export interface Output {
	readonly vertex: Vertex;
	/** Index of the result; a function where it depends on mounts that are not known yet. */
	readonly index: number | (() => number);
	readonly platform?: Platform;
	/** Set when the result cannot be used. */
	readonly error?: string;
}

/** The edge to an output whose vertex is marshalled already. */
export function toInput(output: Output, context: MarshalContext): Input {
	if (output.error !== undefined) throw new Error(output.error);
	const marshalled = context.done.get(output.vertex);
	if (!marshalled) throw new Error('input marshalled after its user');
	return { digest: marshalled.digest, index: typeof output.index === 'number' ? output.index : output.index() };
}

/** Index of `output` among `inputs`, added when new. */
export function addInput(inputs: Input[], output: Output, context: MarshalContext): number {
	const input = toInput(output, context);
	const known = inputs.findIndex((other) => other.digest === input.digest && other.index === input.index);
	return known >= 0 ? known : inputs.push(input) - 1;
}

/** Encodes an op with its constraints; `platform` undefined means the op is the same on every platform. */
export function seal(op: Op['op'], inputs: Input[], constraints: Constraints, platform: Platform | undefined, caps: readonly string[]): Marshalled {
	const bytes = Op.encode({
		inputs,
		op,
		platform: platform && platformToPb(platform),
		// Written even when empty, as Go's client does: equal ops have equal bytes whoever made them.
		constraints: { filter: [...(constraints.filters ?? [])] },
	}).finish();
	return { digest: digestOf(bytes), bytes, metadata: opMetadata(constraints, caps), locations: constraints.locations ?? [] };
}

/** A map whose keys are in the order Go sorts them (bytewise), for bytes that are always the same. */
export function sortedMap<T>(entries: Iterable<readonly [string, T]>): Map<string, T> {
	return new Map([...entries].sort(([a], [b]) => compareBytes(a, b)));
}
