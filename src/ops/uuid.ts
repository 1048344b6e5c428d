import { createHash } from 'node:crypto';

/** The uuid of the layer a vertex makes: the same key and output always give the same one. 8-4-4-4-12 hex. */
export function uuidOf(key: string, output: number): string {
	const hex = createHash('sha256').update(`${key}#${output}`).digest('hex');
	return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join('-');
}
