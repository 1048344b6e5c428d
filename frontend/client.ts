// What a frontend may ask of whoever runs it: BuildKit's gateway client, cut to what a Dockerfile needs.
// In-process it is implemented by the builder; in the frontend image by gRPC over stdio.
import type { Definition, Platform, SourceInfo, SourceOp } from '../src/llb/index.js';

export type { Platform } from '../src/llb/index.js';

/** A solved result whose files can be read. */
export interface Reference {
	/**
	 * The whole file, or `length` bytes from `offset`. Throws an error with `code` 'ENOENT' and the text
	 * `open PATH: no such file or directory` when missing.
	 */
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

/** What is known of a git or http source without reading it. */
export interface SourceMeta {
	/** The raw commit object. */
	readonly gitCommit?: Uint8Array;
	readonly git?: { readonly ref: string; readonly checksum: string; readonly commitChecksum: string };
	readonly httpLastModified?: Date;
	readonly http?: { readonly checksum: string; readonly filename: string };
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

/** A source policy has put something else in an image's place. */
export class NotAnImageError extends Error {
	override readonly name = 'NotAnImageError';

	/** @param updated what stands there now: `local://NAME`, ... */
	constructor(ref: string, readonly updated: string) {
		super(`ref ${JSON.stringify(ref)} resolved to non-image ref ${JSON.stringify(updated)}`);
	}
}

export interface FrontendClient {
	/** Frontend attributes as in BuildKit: `target`, `build-arg:K`, `label:K`, `platform`, `no-cache`, `context:NAME`, `filename`, ... */
	readonly opts: Readonly<Record<string, string>>;
	/** Platform of the default worker: what BUILDPLATFORM says. */
	readonly buildPlatform: Platform;
	/** LLB capabilities of whoever runs the result; undefined when it knows all this frontend uses. */
	readonly llbCaps?: ReadonlySet<string>;
	/** Session the local sources are in; undefined when the solver knows it without being told. */
	readonly sessionId?: string;
	/** Resolves to undefined for an empty definition (scratch). */
	solve(definition: Definition): Promise<Reference | undefined>;
	/** Config and digest of an image (docker-image://) or oci-layout source. Not found errors carry BuildKit's text. Throws NotAnImageError. */
	resolveImageConfig(source: SourceOp, options: { readonly platform: Platform; readonly resolveMode?: string; readonly logName: string }): Promise<ImageMeta>;
	/** For SOURCE_DATE_EPOCH taken from a git or http source. */
	resolveSourceMeta?(source: SourceOp, options: { readonly logName: string }): Promise<SourceMeta>;
	/** Definitions handed in in place of contexts (`context:NAME=input:...`, and `context` and `dockerfile` themselves). */
	inputs?(): Promise<ReadonlyMap<string, Definition>>;
	warn(warning: Warning): void;
}
