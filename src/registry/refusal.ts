// Errors for answers that say no, in the words BuildKit's users know.
import type { RegistryError } from './errors.js';
import { unexpectedStatus, type HttpResponse } from './transport.js';

/** The error for an answer with an unwanted status to a pull or a push; consumes its body. */
export async function refusal(verb: 'pull' | 'push', response: HttpResponse): Promise<RegistryError> {
	const error = await unexpectedStatus(response);
	if (error.kind !== 'unauthorized') return error;
	const code = /error="([^"]*)"/.exec(response.headers['www-authenticate'] ?? '')?.[1];
	const reason = code === undefined ? error.message : `server message: ${code}: authorization failed`;
	return error.withMessage(`${verb} access denied, repository does not exist or may require authorization: ${reason}`);
}
