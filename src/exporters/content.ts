// What exporters share: the build's result, and blobs that an image consists of.
import type { Descriptor, ImageConfig, Platform } from '../image/index.js';
import type { CredentialProvider } from '../registry/index.js';
import type { Snapshot } from '../snapshot/index.js';
import type { VertexReporter } from '../solver/index.js';
import type { RemoteSource } from '../device/types.js';
import type { EarlyPush } from './early-push.js';

/** One platform of a build's result. */
export interface PlatformResult {
	/** What the frontend calls it: `linux/amd64`. */
	readonly id: string;
	readonly platform: Platform;
	readonly snapshot: Snapshot;
	readonly config: ImageConfig;
	/** Config of the image at the bottom, when there is one. */
	readonly baseConfig?: ImageConfig;
	/** SOURCE_DATE_EPOCH as the frontend gives it: seconds since 1970. */
	readonly epoch?: number;
	readonly attestations?: readonly Attestation[];
	/** Cache records to be put into the config (`moby.buildkit.cache.v0`). */
	readonly inlineCache?: () => Promise<Uint8Array | undefined>;
}

export interface BuildOutput {
	readonly platforms: readonly PlatformResult[];
	/** True when the client asked for several platforms, or listed one in a way that wants an index. */
	readonly multiPlatform: boolean;
	/** The frontend's name for the image: what an exporter's `name=*` stands for. */
	readonly imageName?: string;
	/** Annotations the frontend wants, in the form of exporters' attributes. */
	readonly annotations?: Readonly<Record<string, string>>;
}

/** An in-toto statement about a result. */
export interface Attestation {
	readonly predicateType: string;
	/** Name of its file where it is exported as one. */
	readonly path: string;
	/** Only for images; left out where the result is files. */
	readonly inlineOnly: boolean;
	/** What it is about; without any, the image itself. */
	readonly subjects: readonly AttestationSubject[];
	/** The predicate: JSON. `layers`: those of the image it is about, bottom first; absent where it is about files. */
	content(layers?: readonly Descriptor[]): Promise<Uint8Array>;
}

export type AttestationSubject =
	/** The image, and under this name too. */
	| { readonly kind: 'self'; readonly name: string }
	| { readonly kind: 'raw'; readonly name: string; readonly digests: readonly string[] };

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
	/** Who pushes; absent where this host's own configuration says it. */
	readonly credentials?: CredentialProvider | undefined;
	/** Uploads that were begun while steps still ran. */
	readonly early?: EarlyPush | undefined;
}

/** Runs one named piece of an export, shown as a line below the exporter's vertex. */
export async function step<T>(context: ExportContext, name: string, work: () => Promise<T>): Promise<T> {
	const status = context.reporter.status(name);
	const result = await work();
	status.done();
	return result;
}
