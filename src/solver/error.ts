/** A vertex failed. `message` is the op's own; the digest leads to its source lines in the definition. */
export class VertexError extends Error {
	override readonly name = 'VertexError';

	constructor(
		readonly vertex: string,
		readonly vertexName: string,
		override readonly cause: unknown,
	) {
		super(cause instanceof Error ? cause.message : String(cause));
	}
}

/** An op could not say what it would do: a tag that does not exist, a server that refuses. The cause has the vertex's own words. */
export class CacheKeyError extends Error {
	override readonly name = 'CacheKeyError';

	constructor(override readonly cause: unknown) {
		super(`failed to load cache key: ${cause instanceof Error ? cause.message : String(cause)}`);
	}
}

/** The build was cancelled by its client. Same text as Go's context error, which BuildKit's clients print. */
export class CanceledError extends Error {
	override readonly name = 'CanceledError';

	constructor() {
		super('context canceled');
	}
}

/** True for errors that only say that somebody stopped the work. */
export function isCanceled(error: unknown): boolean {
	if (error instanceof VertexError) return isCanceled(error.cause);
	return error instanceof CanceledError || (error instanceof Error && error.name === 'AbortError');
}
