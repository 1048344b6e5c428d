// What the frontend has to say to a request, whatever it asks for: a build, a question about the Dockerfile,
// or something that is another frontend's to answer.
import type { FrontendResult } from './build.js';
import { buildDockerfile } from './build.js';
import type { FrontendClient } from './client.js';
import type { ErrorSource } from './errors.js';
import { FrontendError } from './errors.js';
import type { Forward } from './other-frontend.js';
import { otherFrontend } from './other-frontend.js';
import type { Metadata } from './subrequests/index.js';
import { handleSubrequest, missingFrontendCap } from './subrequests/index.js';
import { openDockerfile } from './ui/context.js';

export type Answer =
	| { readonly kind: 'build'; readonly result: FrontendResult }
	| { readonly kind: 'metadata'; readonly metadata: Metadata }
	| Forward;

/** Places in sources that an error, or what it was caused by, points at. */
export function sourcesOf(error: unknown): readonly ErrorSource[] {
	for (let e = error; e instanceof Error; e = e.cause) if (e instanceof FrontendError) return e.sources;
	return [];
}

/**
 * Answers what the options of a client ask for.
 * @throws FrontendError with BuildKit's text and the places in the Dockerfile; UnsupportedError; Error where
 * no place is to blame.
 */
export async function answer(client: FrontendClient): Promise<Answer> {
	const missing = missingFrontendCap(client.opts);
	if (missing && !missing.forward) throw missing.error;
	const dockerfile = await openDockerfile(client);
	const other = otherFrontend(client, dockerfile.entrypoint);
	if (other) return other;
	if (missing) throw missing.error;
	const metadata = await handleSubrequest(client, dockerfile);
	if (metadata) return { kind: 'metadata', metadata };
	return { kind: 'build', result: await buildDockerfile(client, dockerfile) };
}
