// A step that failed, with what it leaves to whoever wants to look into it: its inputs, and its mounts as they
// were when it failed.
import { randomUUID } from 'node:crypto';
import type { pb, Vertex } from '../llb/index.js';
import type { BuildSession } from '../session/index.js';
import type { WritableMount } from '../snapshot/index.js';
import { isCanceled, type CacheMap, type InputKey, type Op, type Result } from '../solver/index.js';
import type { Laid } from './changes.js';
import { SnapshotResult } from './result.js';
import { uuidOf } from './uuid.js';

/** A result that is made when somebody asks for it, as long as the step's builds last. */
export interface LeftResult {
	result(): Promise<Result>;
}

/** Which part of the op failed: an action of a file op, or the look at the content of an input. */
export type FailedPart = { readonly $case: 'file' | 'cache'; readonly index: number };

/** What there is to see of a failed step; undefined where nothing is mounted. */
export interface Leftovers {
	readonly inputs: readonly (LeftResult | undefined)[];
	/** One a mount of an exec, one an action of a file op. */
	readonly mounts: readonly (LeftResult | undefined)[];
	readonly part?: FailedPart;
}

/** An op's error, in its own words, with what it left. */
export class StepError extends Error {
	override readonly name = 'StepError';

	constructor(override readonly cause: unknown, readonly left: Leftovers = { inputs: [], mounts: [] }, readonly op?: pb.Op) {
		super(cause instanceof Error ? cause.message : String(cause));
	}
}

/** A writable mount of a failed step: sealed when somebody asks for it, thrown away otherwise. */
export class WrittenMount implements LeftResult {
	#result: Promise<Result> | undefined;
	#isReleased = false;

	constructor(private readonly mount: WritableMount, private readonly laid: Laid | undefined) {}

	result(): Promise<Result> {
		if (this.#isReleased) return Promise.reject(new Error('the build of the failed step has ended'));
		return (this.#result ??= this.mount.commit(uuidOf(randomUUID(), 0)).then((snapshot) => new SnapshotResult(snapshot, this.laid)));
	}

	async release(): Promise<void> {
		this.#isReleased = true;
		await this.#result?.catch(() => undefined);
		await this.mount.abort();
	}
}

export function given(result: Result | undefined): LeftResult | undefined {
	return result && { result: () => Promise.resolve(result) };
}

/** The op, whose errors say which one failed. */
export function explained(op: Op<BuildSession>, { op: message }: Vertex): Op<BuildSession> {
	const fails = (error: unknown): never => {
		if (isCanceled(error)) throw error;
		throw error instanceof StepError ? new StepError(error.cause, error.left, message) : new StepError(error, undefined, message);
	};
	const explainedKey = (key: InputKey, index: number): InputKey => {
		const { content } = key;
		if (!content) return key;
		return {
			...key,
			content: (input, signal) => content(input, signal).catch((error: unknown) => {
				signal.throwIfAborted();
				return fails(new StepError(error, { inputs: [given(input)], mounts: [], part: { $case: 'cache', index } }));
			}),
		};
	};
	return {
		...(op.weight !== undefined && { weight: op.weight }),
		...(op.prepare && { prepare: (inputs) => op.prepare?.(inputs) ?? Promise.resolve() }),
		cacheMap: (context) => op.cacheMap(context).then(({ digest, inputs }): CacheMap => ({ digest, inputs: inputs.map(explainedKey) }), fails),
		run: (context, inputs) => op.run(context, inputs).catch(fails),
	};
}
