// What the store reports when it cannot do its work.

/** The store itself is unusable: wrong format, no permission, damaged database. Says what to do about it. */
export class StoreError extends Error {
	override readonly name = 'StoreError';
}

/** Content that is not what its digest or size says. Nothing of it was kept. */
export class ContentMismatchError extends Error {
	override readonly name = 'ContentMismatchError';

	constructor(readonly expected: string, readonly actual: string, what: string) {
		super(`${what}: expected ${expected}, got ${actual}`);
	}
}

export function isErrno(error: unknown, ...codes: readonly string[]): boolean {
	const code = (error as NodeJS.ErrnoException | null)?.code;
	return code !== undefined && codes.includes(code);
}
