// What exporters share: the build's result, and blobs that an image consists of.
import type { Descriptor, ImageConfig, Platform } from '../image/index.js';
import type { Snapshot } from '../snapshot/index.js';
import type { VertexReporter } from '../solver/index.js';
import type { RemoteSource } from '../device/types.js';

/** One platform of a build's result. */
export interface PlatformResult {
	readonly platform: Platform;
	readonly snapshot: Snapshot;
	readonly config: ImageConfig;
}

export interface BuildOutput {
	readonly platforms: readonly PlatformResult[];
	/** True when the client asked for several platforms, or listed one in a way that wants an index. */
	readonly multiPlatform: boolean;
}

/** Where the bytes of a blob are. */
export type BlobOrigin =
	| { readonly kind: 'bytes'; readonly bytes: Uint8Array }
	| { readonly kind: 'file'; readonly path: string }
	| { readonly kind: 'remote'; readonly source: RemoteSource };

export interface ImageBlob {
	readonly descriptor: Descriptor;
	readonly origin: BlobOrigin;
}

/** An image ready to be written somewhere: every blob, children before those who name them, the root last. */
export interface CommittedImage {
	/** The manifest, or the index. */
	readonly root: Descriptor;
	/** Config digest, for a single manifest. */
	readonly configDigest: string | undefined;
	/** Manifests and the index, in the order they must be pushed. */
	readonly manifests: readonly ImageBlob[];
	/** Configs and layers. */
	readonly blobs: readonly ImageBlob[];
}

export interface ExportContext {
	readonly signal: AbortSignal;
	readonly reporter: VertexReporter;
}

/** Runs one named piece of an export, shown as a line below the exporter's vertex. */
export async function step<T>(context: ExportContext, name: string, work: () => Promise<T>): Promise<T> {
	const status = context.reporter.status(name);
	const result = await work();
	status.done();
	return result;
}
