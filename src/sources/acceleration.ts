// Acceleration layers: what an image's top layer says of blocks that are worth having early (FORMATS.md 7).
import { Readable } from 'node:stream';
import { extract } from 'tar-stream';
import { isAccelerationLayer, type Descriptor, type Manifest } from '../image/index.js';

/** The trace file, or list of paths, in an image's acceleration layer. It is a hint: a damaged one is none. */
export async function readAccelerationLayer({ layers }: Manifest, read: (layer: Descriptor) => Promise<Uint8Array>): Promise<Uint8Array | undefined> {
	const layer = layers.findLast(isAccelerationLayer);
	if (!layer) return undefined;
	try {
		const reader = Readable.from([await read(layer)]).pipe(extract());
		for await (const entry of reader) {
			const chunks: Buffer[] = [];
			for await (const chunk of entry as AsyncIterable<Buffer>) chunks.push(chunk);
			if (entry.header.name === 'trace') return Buffer.concat(chunks);
		}
	} catch {
		return undefined;
	}
	return undefined;
}
