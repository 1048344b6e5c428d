// Partial content (RFC 9110, 14): what a server really sent when it was asked for a range.
import { asked, RegistryError } from './errors.js';
import type { HttpResponse } from './transport.js';

/** The header for `length` bytes from `offset`, or all from there on. */
export function rangeHeader(offset: number, length?: number): string {
	return `bytes=${offset}-${length === undefined ? '' : offset + length - 1}`;
}

/**
 * How many bytes at the start of this answer's body lie before `offset`: 0 for a right partial answer, `offset`
 * when the server ignored the range and sends everything. Throws when the answer is some other part.
 */
export function bytesToSkip(response: HttpResponse, offset: number, blobSize: number): number {
	if (response.status === 200) return offset;
	const header = response.headers['content-range'] ?? '';
	const match = /^bytes ([0-9]+)-([0-9]+)\/([0-9]+|\*)$/.exec(header);
	const [start, end] = [Number(match?.[1]), Number(match?.[2])];
	const total = match?.[3] === '*' ? blobSize : Number(match?.[3]);
	if (match === null || start !== offset || end < start || total !== blobSize) {
		throw new RegistryError(`${response.method} ${response.url.origin}${response.url.pathname}: asked for bytes from ${offset} of ${blobSize}, got Content-Range ${JSON.stringify(header)}`, {
			...asked(response.method, response.url), kind: 'protocol', status: response.status, retryable: true,
		});
	}
	return 0;
}
