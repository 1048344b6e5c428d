// Sources: what a build takes from outside: images, the client's directories and layouts, git repositories, files
// of web servers. Each names its content where it can (so that a cached build brings nothing), and brings it
// as a snapshot or a directory.
import type { Platform } from '../image/index.js';
import type { SourceOp } from '../llb/index.js';
import type { ResolvedImage, Transport } from '../registry/index.js';
import { GitSource, type GitMeta, type ResolvedRef } from './git/index.js';
import { HttpSource, type Downloads, type ResolvedDownload } from './http.js';
import { ImageSource, type ImageSourceOptions } from './image.js';
import { LocalSource } from './local.js';
import { OciLayoutSource, type BlobImport } from './oci-layout.js';
import { PerBuild, type Source, type SourceContext } from './source.js';

export type { Download, Downloads } from './http.js';
export { imageLayers, type ImageLayers } from './image-layers.js';
export { ImageResolver, type ImageSourceInfo } from './image-resolver.js';
export type { GitMeta } from './git/index.js';
export type { ConvertedLayers, ImageSourceOptions } from './image.js';
export type { BlobImport } from './oci-layout.js';
export { redactCredentials } from './redact.js';
export { bodyOf, sendRequest } from './web-request.js';
export type { Material, Source, SourceContent, SourceContext, SourceIdentity } from './source.js';

export interface SourcesOptions extends ImageSourceOptions {
	readonly transport: Transport;
	readonly downloads: Downloads;
	readonly blobs: BlobImport;
	/** Repositories of git remotes, kept between builds. */
	readonly repositoryDir: string;
	/** Checkouts, downloads, sockets: files of this process. */
	readonly temporaryDir: string;
}

/** What a frontend may ask of a source without having its files. */
export interface SourceMeta {
	readonly git?: GitMeta;
	/** The raw commit object, where objects were asked for. */
	readonly gitCommit?: Uint8Array;
	/** Of an http source: the digest of the file, and its name. */
	readonly http?: { readonly checksum: string; readonly filename: string };
	readonly httpLastModified?: Date;
}

export class Sources {
	readonly #images = new PerBuild<ResolvedImage>();
	readonly #refs = new PerBuild<ResolvedRef>();
	readonly #downloads = new PerBuild<ResolvedDownload>();

	constructor(private readonly options: SourcesOptions) {}

	/** The source an operation names. Throws for schemes obd does not have. */
	source(op: SourceOp, platform: Platform): Source {
		const scheme = schemeOf(op);
		switch (scheme) {
			case 'docker-image': return new ImageSource(op, platform, this.options);
			case 'oci-layout': return this.#layout(op, platform);
			case 'local': return new LocalSource(op);
			case 'git': return this.#git(op);
			case 'http': case 'https': return this.#http(op);
			default: throw new Error(`source ${op.identifier}: obd has no source of kind ${scheme}`);
		}
	}

	/** The image a docker-image or oci-layout source means. */
	async image(op: SourceOp, platform: Platform, context: Pick<SourceContext, 'session' | 'signal'>): Promise<ResolvedImage> {
		if (schemeOf(op) === 'oci-layout') return this.#layout(op, platform).resolve(context);
		return (await this.options.resolver.resolve(op.identifier.replace(/^docker-image:\/\//, ''), platform, context.session, context.signal)).resolved;
	}

	/** What is known of a git or http source without a checkout. `objects`: git's, which have to be fetched. */
	async metadata(op: SourceOp, context: SourceContext, objects: boolean): Promise<SourceMeta> {
		switch (schemeOf(op)) {
			case 'git': {
				const { commitObject, ...git } = await this.#git(op).metadata(context, objects);
				return { git, ...(commitObject && { gitCommit: commitObject }) };
			}
			case 'http': case 'https': {
				const { lastModified, ...http } = await this.#http(op).metadata(context);
				return { http, ...(lastModified && { httpLastModified: lastModified }) };
			}
			default: return {};
		}
	}

	#layout(op: SourceOp, platform: Platform): OciLayoutSource {
		return new OciLayoutSource(op, platform, { ...this.options, resolved: this.#images });
	}

	#git(op: SourceOp): GitSource {
		return new GitSource(op, { ...this.options, resolved: this.#refs });
	}

	#http(op: SourceOp): HttpSource {
		return new HttpSource(op, { ...this.options, resolved: this.#downloads });
	}
}

function schemeOf({ identifier }: SourceOp): string {
	const end = identifier.indexOf('://');
	if (end < 0) throw new Error(`failed to parse ${identifier}`);
	return identifier.slice(0, end);
}
