// Images as files: an OCI layout (tar or directory), with docker's manifest.json where a docker daemon is
// to load it.
import { createReadStream, createWriteStream } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { pack, type Pack } from 'tar-stream';
import { digestHex, encodeIndex, familiarReference, mediaTypes, parseManifest, parseReference, type Descriptor } from '../image/index.js';
import type { CommittedImage, ImageBlob } from './content.js';
import { makeDirectories } from './directory.js';
import type { RemoteSource } from '../device/types.js';
import type { ContentStore } from '../session/index.js';

export type OpenRemoteBlob = (source: RemoteSource, descriptor: Descriptor, signal: AbortSignal) => Promise<Readable>;

export interface ArchiveOptions {
	readonly names: readonly string[];
	/** Adds manifest.json for `docker load`. */
	readonly docker: boolean;
	/** The image's root as index.json names it. */
	readonly root: Descriptor;
	readonly openRemote: OpenRemoteBlob;
	readonly signal: AbortSignal;
}

/** A file of the layout. */
interface LayoutFile {
	readonly name: string;
	readonly size: number;
	open(): Promise<Readable | Uint8Array>;
}

/** Writes the image as a tar to `target`, which is ended. */
export async function writeArchive(image: CommittedImage, target: Writable, options: ArchiveOptions): Promise<void> {
	const archive = pack();
	const writing = pipeline(archive, target, { signal: options.signal });
	const filling = fill(archive, layout(image, options));
	filling.catch((error: unknown) => { archive.destroy(error instanceof Error ? error : new Error(String(error))); });
	await Promise.all([writing, filling]);
}

/** Writes the image as an OCI layout into a directory, made when missing. */
export async function writeLayoutDirectory(image: CommittedImage, directory: string, options: ArchiveOptions): Promise<void> {
	for (const file of layout(image, options)) {
		const target = path.join(directory, file.name);
		await makeDirectories(path.dirname(target));
		const content = await file.open();
		if (content instanceof Uint8Array) await writeFile(target, content);
		else await pipeline(content, createWriteStream(target), { signal: options.signal });
	}
}

/** Writes the image's blobs to a content store, children before those who name them. */
export async function writeToStore(image: CommittedImage, store: ContentStore, options: ArchiveOptions): Promise<void> {
	for (const blob of [...image.blobs, ...image.manifests]) {
		await store.write(blob.descriptor, () => chunksOf(blobFile(blob, options)), options.signal);
	}
}

async function* chunksOf({ open }: LayoutFile): AsyncGenerator<Uint8Array> {
	const content = await open();
	if (content instanceof Uint8Array) yield content;
	else yield* content as AsyncIterable<Uint8Array>;
}

async function fill(archive: Pack, files: readonly LayoutFile[]): Promise<void> {
	for (const name of ['blobs/', 'blobs/sha256/']) archive.entry({ name, type: 'directory', mode: 0o755, mtime: new Date(0) });
	for (const { name, size, open } of files) {
		const content = await open();
		const header = { name, size, mode: 0o644, mtime: new Date(0) };
		if (content instanceof Uint8Array) {
			archive.entry(header, Buffer.from(content.buffer, content.byteOffset, content.byteLength));
			continue;
		}
		await pipeline(content, archive.entry(header));
	}
	archive.finalize();
}

function layout(image: CommittedImage, options: ArchiveOptions): LayoutFile[] {
	const seen = new Set<string>();
	const blobs = [...image.blobs, ...image.manifests].filter(({ descriptor }) => {
		const isNew = !seen.has(descriptor.digest);
		seen.add(descriptor.digest);
		return isNew;
	});
	return [
		document('oci-layout', Buffer.from('{"imageLayoutVersion":"1.0.0"}')),
		document('index.json', indexJson(options)),
		...(options.docker ? [document('manifest.json', dockerManifest(image, options.names))] : []),
		...blobs.map((blob) => blobFile(blob, options)),
	];
}

function document(name: string, bytes: Uint8Array): LayoutFile {
	return { name, size: bytes.length, open: () => Promise.resolve(bytes) };
}

function blobFile({ descriptor, origin }: ImageBlob, options: ArchiveOptions): LayoutFile {
	return {
		name: `blobs/sha256/${digestHex(descriptor.digest)}`,
		size: descriptor.size,
		open: () => {
			switch (origin.kind) {
				case 'bytes': return Promise.resolve(origin.bytes);
				case 'file': return Promise.resolve(createReadStream(origin.path, { highWaterMark: 1 << 20 }));
				case 'remote': return options.openRemote(origin.source, descriptor, options.signal);
			}
		},
	};
}

/** One entry a name, as containerd's archive exporter writes it. */
function indexJson({ names, root }: ArchiveOptions): Uint8Array {
	const manifests = names.length === 0 ? [root] : names.map((name) => ({
		...root,
		annotations: { ...root.annotations, 'io.containerd.image.name': name, 'org.opencontainers.image.ref.name': parseReference(name).tag ?? '' },
	}));
	return encodeIndex({ mediaType: mediaTypes.ociIndex, manifests }).bytes;
}

function dockerManifest(image: CommittedImage, names: readonly string[]): Uint8Array {
	const [manifest] = image.manifests;
	if (!manifest || manifest.origin.kind !== 'bytes') throw new Error('the image has no manifest');
	const { config, layers } = parseManifest(manifest.origin.bytes);
	const blob = (descriptor: Descriptor): string => `blobs/sha256/${digestHex(descriptor.digest)}`;
	return Buffer.from(JSON.stringify([{
		Config: blob(config),
		RepoTags: names.map((name) => familiarReference(parseReference(name))),
		Layers: layers.map(blob),
	}]));
}
