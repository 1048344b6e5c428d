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
export function bytesToSkip(response: HttpResponse, offset: number, blobSize: number | undefined): number {
	if (response.status === 200) return offset;
	const header = response.headers['content-range'] ?? '';
	const match = /^bytes ([0-9]+)-([0-9]+)\/([0-9]+|\*)$/.exec(header);
	const [start, end] = [Number(match?.[1]), Number(match?.[2])];
	const total = match?.[3] === '*' ? undefined : Number(match?.[3]);
	const otherBlob = total !== undefined && blobSize !== undefined && total !== blobSize;
	if (match === null || start !== offset || end < start || otherBlob) {
		throw new RegistryError(`${response.method} ${response.url.origin}${response.url.pathname}: asked for bytes from ${offset}${blobSize === undefined ? '' : ` of ${blobSize}`}, got Content-Range ${JSON.stringify(header)}`, {
			...asked(response.method, response.url), kind: 'protocol', status: response.status, retryable: true,
		});
	}
	return 0;
}
