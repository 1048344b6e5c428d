// Content digests: `sha256:<hex>` strings, as in the OCI image spec ("Digests").
import { createHash, type Hash } from 'node:crypto';

const hexLength: Readonly<Record<string, number>> = { sha256: 64, sha384: 96, sha512: 128 };
const anyDigest = /^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$/;

export const emptyDigest = 'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

/** Throws an error with the text of Go's digest package when `digest` is not one we can verify. */
export function validateDigest(digest: string): void {
	const colon = digest.indexOf(':');
	if (colon <= 0 || colon + 1 === digest.length) throw new Error('invalid checksum digest format');
	const length = Object.hasOwn(hexLength, digest.slice(0, colon)) ? hexLength[digest.slice(0, colon)] : undefined;
	if (length === undefined) {
		throw new Error(anyDigest.test(digest) ? 'unsupported digest algorithm' : 'invalid checksum digest format');
	}
	const encoded = digest.slice(colon + 1);
	if (encoded.length !== length) throw new Error('invalid checksum digest length');
	if (!/^[a-f0-9]+$/.test(encoded)) throw new Error('invalid checksum digest format');
}

export function isDigest(value: string): boolean {
	try {
		validateDigest(value);
		return true;
	} catch {
		return false;
	}
}

/** `sha256` of `sha256:abc`. The digest is a valid one. */
export function digestAlgorithm(digest: string): string {
	return digest.slice(0, digest.indexOf(':'));
}

/** The hex part. The digest is a valid one. */
export function digestHex(digest: string): string {
	return digest.slice(digest.indexOf(':') + 1);
}

/** The sha256 digest of the bytes (a string counts as UTF-8). */
export function digestOf(data: Uint8Array | string): string {
	return `sha256:${createHash('sha256').update(data).digest('hex')}`;
}

/** Hashes a stream of chunks and tells whether they are the content a digest names. */
export class Verifier {
	readonly #hash: Hash;
	#size = 0;

	/** Throws on a digest that `validateDigest` refuses. */
	constructor(readonly digest: string) {
		validateDigest(digest);
		this.#hash = createHash(digestAlgorithm(digest));
	}

	/** Bytes seen so far. */
	get size(): number {
		return this.#size;
	}

	update(chunk: Uint8Array): void {
		this.#hash.update(chunk);
		this.#size += chunk.length;
	}

	/** The digest of what was seen. Ends the verifier. */
	finish(): string {
		return `${digestAlgorithm(this.digest)}:${this.#hash.digest('hex')}`;
	}
}

/** The OCI chain ID of layers given by their diffIDs, bottom first; '' for none (image spec, "Layer ChainID"). */
export function chainId(diffIds: readonly string[]): string {
	return diffIds.reduce((chain, diffId) => (chain === '' ? diffId : digestOf(`${chain} ${diffId}`)), '');
}
