import { hash } from 'node:crypto';

/** `sha256:<64 hex digits>`. */
export type Digest = string;

/** The digest of some bytes, as OCI and LLB write it. */
export function digestOf(bytes: Uint8Array | string): Digest {
	return `sha256:${hash('sha256', bytes, 'hex')}`;
}
