// Exporters: turn a build's result into what the client asked for: an image in a registry, an image file,
// a root file system. One vertex each in the progress; knows snapshots, images and registries, not ops.
import { createWriteStream } from 'node:fs';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import type { RegistryClient } from '../registry/index.js';
import type { ExportReceiver } from '../session/index.js';
import type { SnapshotManager } from '../snapshot/index.js';
import { writeArchive, writeLayoutDirectory, type ArchiveOptions } from './archive.js';
import { commitImage } from './commit.js';
import { EarlyPush } from './early-push.js';
import { step, type BuildOutput, type CommittedImage, type ExportContext } from './content.js';
import { imageOptions, type ImageOptions } from './options.js';
import { OrdinaryLayers, type OrdinaryLayerStore } from './ordinary-layers.js';
import { pushToNames } from './push.js';
import { exportLocal, exportTar } from './rootfs.js';

export type { BuildOutput, PlatformResult } from './content.js';
export type { EarlyPush } from './early-push.js';
export type { OrdinaryLayerStore, StoredChangeset } from './ordinary-layers.js';

export interface ExportRequest {
	readonly type: 'image' | 'oci' | 'docker' | 'local' | 'tar';
	readonly attributes: Readonly<Record<string, string>>;
	/** A file, a directory, or `-` for stdout; or whoever takes it. */
	readonly destination?: string | ExportReceiver;
}

export interface ExporterOptions {
	readonly snapshots: SnapshotManager;
	readonly registry: RegistryClient;
	readonly isInsecure: (domain: string) => boolean;
	readonly store: OrdinaryLayerStore & ImageStore;
}

/** Names of images that were built, with what they consist of; the store implements it. */
export interface ImageStore {
	keepImage(name: string, image: CommittedImage): Promise<void>;
}

/** BuildKit's exporter response. */
export type ExportMetadata = Record<string, string>;

/** What progress calls an export. */
export function exportName({ type }: ExportRequest): string {
	switch (type) {
		case 'image': return 'exporting to image';
		case 'oci': return 'exporting to oci image format';
		case 'docker': return 'exporting to docker image format';
		case 'local': return 'exporting to client directory';
		case 'tar': return 'exporting to client tarball';
	}
}

/** Checks a request before anything is built. Throws an error that names the attribute. */
export function validateExport({ type, attributes, destination }: ExportRequest): void {
	if (type === 'image') {
		const options = imageOptions(type, attributes);
		if (options.push && options.names.length === 0) throw new Error('tag is needed when pushing to registry');
		return;
	}
	if (destination === undefined) throw new Error(`dest is required for ${type} exporter`);
	if (type === 'oci' || type === 'docker') imageOptions(type, attributes);
}

export class Exporter {
	readonly #ordinary: OrdinaryLayers;

	constructor(private readonly options: ExporterOptions) {
		this.#ordinary = new OrdinaryLayers(options.snapshots, options.store);
	}

	/** Uploads layers before the export itself; undefined for an export that pushes no block layers. */
	earlyPush({ type, attributes }: ExportRequest, signal: AbortSignal): EarlyPush | undefined {
		if (type !== 'image') return undefined;
		const options = imageOptions(type, attributes);
		if (!options.push || options.compression !== 'overlaybd') return undefined;
		const { registry, isInsecure, store } = this.options;
		return new EarlyPush(options, { registry, isInsecure, blobPath: (digest, size) => store.blobPath(digest, size), signal });
	}

	async run(request: ExportRequest, output: BuildOutput, context: ExportContext): Promise<ExportMetadata> {
		const { type, attributes, destination = '' } = request;
		if (type === 'tar' || type === 'local') {
			const rootfs = { ...context, snapshots: this.options.snapshots, temporaryPath: this.options.store.temporaryPath };
			await (type === 'tar' ? exportTar(output, destination, rootfs) : exportLocal(output, destination, rootfs));
			return {};
		}
		if (type === 'docker' && output.multiPlatform) throw new Error('docker exporter does not currently support exporting manifest lists');
		const options = imageOptions(type, attributes);
		const image = await commitImage(output, options, { blobPath: (digest, size) => this.options.store.blobPath(digest, size), ordinary: this.#ordinary }, context);
		if (type === 'image') await this.#keep(image, options, context);
		else await this.#write(image, type, options, destination, context);
		return about(image, options);
	}

	async #keep(image: CommittedImage, options: ImageOptions, context: ExportContext): Promise<void> {
		for (const name of options.names) await step(context, `naming to ${name}`, () => this.options.store.keepImage(name, image));
		if (options.push) await pushToNames(image, options, { ...context, ...this.options });
	}

	async #write(image: CommittedImage, type: 'oci' | 'docker', options: ImageOptions, destination: string | ExportReceiver, context: ExportContext): Promise<void> {
		const archive = {
			names: options.names,
			docker: type === 'docker',
			created: new Date().toISOString().replace(/\.\d+Z$/, 'Z'),
			openRemote: (source: { repository: string; insecure: boolean }, descriptor: CommittedImage['root'], signal: AbortSignal) => (
				Promise.resolve(this.options.registry.repository(source.repository, { insecure: source.insecure }).openBlob(descriptor, { signal }))
			),
			signal: context.signal,
		};
		if (!options.tar) return step(context, 'copying files', () => this.#writeLayout(image, destination, archive));
		const target = typeof destination === 'string' ? await openTarget(destination) : await destination.openFile(about(image, options), context.signal);
		await step(context, 'sending tarball', () => writeArchive(image, target, archive));
	}

	/** For a receiver the layout is made here first. */
	async #writeLayout(image: CommittedImage, destination: string | ExportReceiver, archive: ArchiveOptions): Promise<void> {
		if (typeof destination === 'string') return writeLayoutDirectory(image, destination, archive);
		const directory = await this.options.store.temporaryPath();
		try {
			await writeLayoutDirectory(image, directory, archive);
			await destination.sendTrees([{ prefix: '', root: directory }], archive.signal);
		} finally {
			await rm(directory, { recursive: true, force: true });
		}
	}
}

async function openTarget(destination: string): Promise<Writable> {
	if (destination === '-') return process.stdout;
	const stream = createWriteStream(destination);
	await once(stream, 'open');
	return stream;
}

function about(image: CommittedImage, options: ImageOptions): ExportMetadata {
	return {
		'containerimage.digest': image.root.digest,
		...(image.configDigest !== undefined && { 'containerimage.config.digest': image.configDigest }),
		'containerimage.descriptor': Buffer.from(JSON.stringify(image.root)).toString('base64'),
		...(options.names.length > 0 && { 'image.name': options.names.join(',') }),
	};
}
