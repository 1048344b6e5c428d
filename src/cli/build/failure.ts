// A failed build in words: where in the Dockerfile, then what.
import { formatSource, type ErrorSource } from '../../../frontend/errors.js';

/** The solver or a frontend failed, as opposed to the preparation of the build. */
export class SolveFailure extends Error {
	override readonly name = 'SolveFailure';

	constructor(override readonly cause: unknown) {
		super(`failed to build: failed to solve: ${cause instanceof Error ? cause.message : String(cause)}`);
	}
}

/** Excerpts of the sources the error points at, then `ERROR: ...`. */
export function describeFailure(error: unknown): string {
	const message = error instanceof Error ? error.message : String(error);
	return `${sourcesOf(error).map(formatSource).join('')}ERROR: ${message}\n`;
}

/** Sources are carried by the error itself or by one it was caused by; the innermost come first. */
function sourcesOf(error: unknown): readonly ErrorSource[] {
	if (!(error instanceof Error)) return [];
	const own = 'sources' in error && Array.isArray(error.sources) ? error.sources as ErrorSource[] : [];
	return [...sourcesOf(error.cause), ...own];
}
