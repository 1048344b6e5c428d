// A blob into a file, going on where an earlier download stopped.
import { createReadStream } from 'node:fs';
import { open, rm, stat, type FileHandle } from 'node:fs/promises';
import { Verifier, type Descriptor } from '../image/index.js';
import { readBlob, type BlobReader } from './blob-read.js';
import { RegistryError } from './errors.js';
import type { ProgressCallback } from './repository.js';

/** See `Repository.download`. */
export async function downloadBlob(reader: BlobReader, descriptor: Descriptor, file: string, onProgress?: ProgressCallback): Promise<void> {
	const resumed = await usableStart(file, descriptor.size);
	if (await attempt(reader, descriptor, file, resumed, onProgress)) return;
	await rm(file, { force: true });
	// The beginning may have been damaged before we came: only a download from zero blames the registry.
	if (resumed > 0 && await attempt(reader, descriptor, file, 0, onProgress)) return;
	await rm(file, { force: true });
	throw new RegistryError(`${reader.name}@${descriptor.digest}: the registry sent other content`, {
		kind: 'content', registry: reader.endpoints.at(-1)?.host ?? '', method: 'GET', path: '',
	});
}

async function usableStart(file: string, size: number): Promise<number> {
	const existing = await stat(file).catch(() => undefined);
	return existing === undefined || existing.size > size ? 0 : existing.size;
}

/** Whether the file ends up with the right content. */
async function attempt(reader: BlobReader, descriptor: Descriptor, file: string, start: number, onProgress?: ProgressCallback): Promise<boolean> {
	const verifier = new Verifier(descriptor.digest);
	if (start > 0) {
		for await (const chunk of createReadStream(file, { end: start - 1, highWaterMark: 1024 * 1024 })) verifier.update(chunk as Buffer);
	}
	const handle = await open(file, start > 0 ? 'r+' : 'w');
	try {
		let position = start;
		// Read "from an offset" even at zero: the digest is checked here, over what the file had before too.
		for await (const chunk of readBlob(reader, descriptor, start, onProgress, false)) {
			verifier.update(chunk);
			await writeAll(handle, chunk, position);
			position += chunk.length;
		}
	} finally {
		await handle.close();
	}
	return verifier.finish() === descriptor.digest;
}

async function writeAll(handle: FileHandle, chunk: Uint8Array, position: number): Promise<void> {
	for (let done = 0; done < chunk.length;) done += (await handle.write(chunk, done, chunk.length - done, position + done)).bytesWritten;
}
