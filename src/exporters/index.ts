// Exporters: turn a build's result into what the client asked for: an image in a registry, an image file,
// a root file system. One vertex each in the progress; knows snapshots, images and registries, not ops.
import { createWriteStream } from 'node:fs';
import { once } from 'node:events';
import type { Writable } from 'node:stream';
import { descriptorJson, encodeJson, parseImageConfig, type Descriptor } from '../image/index.js';
import type { RegistryClient } from '../registry/index.js';
import type { ExportReceiver } from '../session/index.js';
import type { SnapshotManager } from '../snapshot/index.js';
import { writeArchive, writeLayoutDirectory, writeToStore, type ArchiveOptions } from './archive.js';
import { commitImage } from './commit.js';
import { EarlyPush } from './early-push.js';
import { step, type BuildOutput, type CommittedImage, type ExportContext } from './content.js';
import type { LayerStore } from './layers.js';
import { fullNames, imageOptions, type ImageOptions } from './options.js';
import { OrdinaryLayers } from './ordinary-layers.js';
import { OverlaybdLayers } from './overlaybd-layers.js';
import { pushToNames } from './push.js';
import { exportLocal, exportTar, rootfsOptions } from './rootfs.js';
import { epochOf } from './timestamps.js';

export type { Attestation, AttestationSubject, BuildOutput, PlatformResult } from './content.js';
export type { EarlyPush } from './early-push.js';
export type { LayerStore, StoredChangeset } from './layers.js';
export { imagePurl } from './purl.js';

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
	readonly store: LayerStore & ImageStore;
}

/** Names of images that were built, with what they consist of; the store implements it. */
export interface ImageStore {
	keepImage(name: string, image: CommittedImage): Promise<void>;
}

/** What was exported. */
export interface Exported {
	/** BuildKit's exporter response. */
	readonly response: Readonly<Record<string, string>>;
	/** Of an image: its manifest or index. */
	readonly root?: { readonly descriptor: Descriptor; readonly bytes: Uint8Array };
}

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
	if (type !== 'image' && destination === undefined) throw new Error(`dest is required for ${type} exporter`);
	if (type === 'local' || type === 'tar') {
		rootfsOptions(attributes);
		// A receiver takes away by itself what it no longer gets.
		if (attributes['mode'] === 'delete' && typeof destination === 'string') throw new Error('local exporter mode "delete" is not supported by obd');
		return;
	}
	const options = imageOptions(type, attributes);
	if (options.push && options.names.length === 0 && options.danglingPrefix === '') throw new Error('tag is needed when pushing to registry');
	if (type !== 'image') fullNames(options.names.filter((name) => name !== '*'));
}

export class Exporter {
	readonly #ordinary: OrdinaryLayers;
	readonly #overlaybd: OverlaybdLayers;

	constructor(private readonly options: ExporterOptions) {
		this.#ordinary = new OrdinaryLayers(options.snapshots, options.store);
		this.#overlaybd = new OverlaybdLayers(options.snapshots, options.store);
	}

	/** Uploads layers before the export itself; undefined for an export that pushes no block layers as they are. */
	earlyPush({ type, attributes }: ExportRequest, { signal, credentials }: Pick<ExportContext, 'signal' | 'credentials'>): EarlyPush | undefined {
		if (type !== 'image') return undefined;
		const options = imageOptions(type, attributes);
		if (!options.push || options.compression !== 'overlaybd' || options.rewriteTimestamp || options.names.includes('*')) return undefined;
		const { registry, isInsecure, store } = this.options;
		return new EarlyPush(options, { registry: registry.as(credentials), isInsecure, blobPath: (digest, size) => store.blobPath(digest, size), signal });
	}

	/** Exports a result. */
	async run(request: ExportRequest, result: BuildOutput, context: ExportContext): Promise<Exported> {
		const output = withConfigs(result, request.attributes);
		const { type, attributes, destination = '' } = request;
		if (type === 'tar' || type === 'local') {
			const rootfs = { ...context, snapshots: this.options.snapshots, temporaryPath: () => this.options.store.temporaryPath() };
			const options = rootfsOptions(attributes);
			await (type === 'tar' ? exportTar(output, destination, options, rootfs) : exportLocal(output, destination, options, rootfs));
			return { response: {} };
		}
		if (type === 'docker' && output.multiPlatform) throw new Error('docker exporter does not currently support exporting manifest lists');
		const options = imageOptions(type, { ...attributes, ...output.annotations });
		for (const note of options.notes) context.reporter.log(2, Buffer.from(`${note}\n`));
		const given = options.names.flatMap((name) => (name === '*' ? output.imageName?.split(',') ?? [] : [name]));
		const image = await commitImage(output, options, given, { ordinary: this.#ordinary, overlaybd: this.#overlaybd }, context);
		if (type === 'image') return this.#keep(image, given, options, context);
		return this.#write(image, output, type, { ...options, names: fullNames(given) }, destination, context);
	}

	/** The image in the store by its names, and pushed where that was asked for. */
	async #keep(image: CommittedImage, given: readonly string[], options: ImageOptions, context: ExportContext): Promise<Exported> {
		const { digest } = image.root;
		const dangling = options.danglingPrefix !== '' && (!options.danglingEmptyOnly || given.length === 0) ? [`${options.danglingPrefix}@${digest}`] : [];
		const names = [...given, ...dangling];
		const isCanonical = options.nameCanonical && given.length > 0;
		for (const name of names) {
			const [full = name] = fullNames([name]);
			await step(context, `naming to ${full}`, async () => {
				await this.options.store.keepImage(full, image);
				if (isCanonical && !name.includes('@')) await this.options.store.keepImage(`${full}@${digest}`, image);
			});
		}
		if (options.push) await pushToNames(image, fullNames(names), options, { ...context, isInsecure: this.options.isInsecure, registry: this.options.registry.as(context.credentials) });
		return exported(image, image.root, names);
	}

	async #write(image: CommittedImage, output: BuildOutput, type: 'oci' | 'docker', options: ImageOptions, destination: string | ExportReceiver, context: ExportContext): Promise<Exported> {
		const [first] = output.platforms;
		const epoch = first && epochOf(options.epoch, first);
		const created = new Date(epoch === undefined ? Date.now() : epoch * 1000).toISOString().replace(/\.\d+Z$/, 'Z');
		const root = { ...image.root, annotations: { 'org.opencontainers.image.created': created, ...image.root.annotations } };
		const archive = {
			names: options.names,
			docker: type === 'docker',
			root,
			openRemote: (source: { repository: string; insecure: boolean }, descriptor: CommittedImage['root'], signal: AbortSignal) => (
				Promise.resolve(this.options.registry.as(context.credentials).repository(source.repository, { insecure: source.insecure }).openBlob(descriptor, { signal }))
			),
			signal: context.signal,
		};
		const about = exported(image, root, options.names);
		if (!options.tar) await step(context, 'copying files', () => this.#writeLayout(image, destination, archive));
		else {
			const target = typeof destination === 'string' ? await openTarget(destination) : await destination.openFile(about.response, context.signal);
			await step(context, 'sending tarball', () => writeArchive(image, target, archive).catch(unlessThere));
		}
		return about;
	}

	/** A receiver gets the blobs; what names the root it writes itself. */
	async #writeLayout(image: CommittedImage, destination: string | ExportReceiver, archive: ArchiveOptions): Promise<void> {
		if (typeof destination === 'string') return writeLayoutDirectory(image, destination, archive);
		await writeToStore(image, destination.contentStore(), archive);
	}
}

/** The result with image configs that stand among the attributes (`containerimage.config`). */
function withConfigs(output: BuildOutput, attributes: ExportRequest['attributes']): BuildOutput {
	const valueOf = (key: string, id: string): string | undefined => attributes[`${key}/${id}`] ?? attributes[key];
	return {
		...output,
		platforms: output.platforms.map((result) => {
			const config = valueOf('containerimage.config', result.id);
			const base = valueOf('containerimage.base.config', result.id);
			return { ...result, ...(config && { config: parseImageConfig(Buffer.from(config)) }), ...(base && { baseConfig: parseImageConfig(Buffer.from(base)) }) };
		}),
	};
}

/** A client that has what it is sent says so, which is no failure. */
function unlessThere(error: unknown): void {
	const alreadyExists = 6;
	if ((error as { readonly code?: unknown }).code !== alreadyExists) throw error;
}

async function openTarget(destination: string): Promise<Writable> {
	if (destination === '-') return process.stdout;
	const stream = createWriteStream(destination);
	await once(stream, 'open');
	return stream;
}

function exported(image: CommittedImage, root: Descriptor, names: readonly string[]): Exported {
	const origin = image.manifests.at(-1)?.origin;
	return {
		response: {
			'containerimage.digest': root.digest,
			...(image.configDigest !== undefined && { 'containerimage.config.digest': image.configDigest }),
			'containerimage.descriptor': Buffer.from(encodeJson(descriptorJson(root))).toString('base64'),
			...(names.length > 0 && { 'image.name': names.join(',') }),
		},
		...(origin?.kind === 'bytes' && { root: { descriptor: root, bytes: origin.bytes } }),
	};
}
