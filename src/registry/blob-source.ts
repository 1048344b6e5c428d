// Where the bytes of a blob to push come from: a file, memory, another registry, a stream.
import { createReadStream } from 'node:fs';

export interface BlobSource {
	/** Bytes. */
	readonly size: number;
	/** The content from `offset` on; may be called again, with another offset, after a failure. */
	open(offset: number): AsyncIterable<Uint8Array>;
}

const readSize = 1024 * 1024;

export function fileSource(path: string, size: number): BlobSource {
	return { size, open: (offset) => (size === offset ? empty() : createReadStream(path, { start: offset, end: size - 1, highWaterMark: readSize })) };
}

export function bufferSource(bytes: Uint8Array): BlobSource {
	return {
		size: bytes.length,
		async *open(offset) {
			for (let start = offset; start < bytes.length; start += readSize) yield bytes.subarray(start, start + readSize);
		},
	};
}

/** A stream that can be read once: a push from it cannot be repeated after its first byte was taken. */
export function onceSource(stream: AsyncIterable<Uint8Array>, size: number): BlobSource {
	let used = false;
	return {
		size,
		open(offset) {
			if (used || offset !== 0) throw new Error('the stream to push was read already and cannot be read again');
			used = true;
			return stream;
		},
	};
}

async function* empty(): AsyncIterable<Uint8Array> {}
