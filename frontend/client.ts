// What a frontend may ask of whoever runs it: BuildKit's gateway client, cut to what a Dockerfile needs.
// In-process it is implemented by the builder; in the frontend image by gRPC over stdio.
import type { Definition, SourceOp, SourceInfo } from '../src/llb/index.js';

export interface Platform {
	readonly os: string;
	readonly architecture: string;
	readonly variant?: string;
	readonly osVersion?: string;
}

/** A solved result whose files can be read. */
export interface Reference {
	/** The whole file, or `length` bytes from `offset`. Throws an error with `code` 'ENOENT' when missing. */
	readFile(path: string, range?: { offset: number; length: number }): Promise<Uint8Array>;
	readDir(path: string, includePattern?: string): Promise<readonly FileStat[]>;
	statFile(path: string): Promise<FileStat>;
}

export interface FileStat {
	readonly path: string;
	/** Go's os.FileMode bits as in fsutil's types.Stat. */
	readonly mode: number;
	readonly size: number;
	readonly linkname?: string;
}

export interface ImageMeta {
	/** The reference as resolved (with a digest where the resolver pinned one). */
	readonly ref: string;
	readonly digest: string;
	/** OCI image config, raw JSON bytes. */
	readonly config: Uint8Array;
}

export interface Warning {
	/** Digest of the vertex it belongs to; '' for the build as a whole. */
	readonly vertex?: string;
	readonly level: number;
	readonly short: string;
	readonly detail?: readonly string[];
	readonly url?: string;
	readonly sourceInfo?: SourceInfo;
	readonly ranges?: readonly { start: { line: number; character: number }; end: { line: number; character: number } }[];
}

export interface FrontendClient {
	/** Frontend attributes as in BuildKit: `target`, `build-arg:K`, `label:K`, `platform`, `no-cache`, `context:NAME`, `filename`, ... */
	readonly opts: Readonly<Record<string, string>>;
	/** Platform of the default worker: what BUILDPLATFORM says. */
	readonly buildPlatform: Platform;
	/** Resolves to undefined for an empty definition (scratch). */
	solve(definition: Definition): Promise<Reference | undefined>;
	/** Config and digest of an image (docker-image://) or oci-layout source. Not found errors carry BuildKit's text. */
	resolveImageConfig(source: SourceOp, options: { readonly platform: Platform; readonly resolveMode?: string; readonly logName: string }): Promise<ImageMeta>;
	warn(warning: Warning): void;
}
