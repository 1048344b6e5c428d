// Layer files on local disk: look into them, check them, turn a stack of them into a disk image, and make
// sealed layers. All of it runs on native threads and needs neither root nor a device. Formats are those
// of FORMATS.md 0 to 3; a damaged file rejects with an error that names file and byte offset.
import { nativeAddon } from './index.js';

/** A layer: a sealed blob (tar wrapping and ZFile are detected), a writable layer's pair of files, append-only
 *  or sparse, or a turboOCI layer's archive with the ordinary layer it points into. */
export type LayerFile =
	| string
	| { readonly data: string; readonly index: string }
	| { readonly archive: string; readonly target: string };

export interface TarReport {
	/** Where the layer starts in the blob, and its size; bytes. */
	readonly payloadOffset: number;
	readonly payloadSize: number;
}

export interface ZFileReport {
	readonly algorithm: 'lz4' | 'zstd';
	/** Bytes, before compression. */
	readonly blockSize: number;
	readonly blocks: number;
	/** Bytes, before compression. */
	readonly originalSize: number;
	/** Bytes of all compressed blocks with their checksums. */
	readonly storedSize: number;
	/** Bytes from the start of the ZFile. */
	readonly indexOffset: number;
	/** Hexadecimal; see FORMATS.md 1.2. */
	readonly headerFlags: string;
	readonly trailerFlags: string;
	/** The header has the final fields (overlaybd-commit); otherwise only the trailer has (overlaybd-zfile). */
	readonly completedHeader: boolean;
	/** Header, trailer and index carry checksums. */
	readonly digests: boolean;
	/** Every block carries a checksum. */
	readonly blockChecksums: boolean;
}

export interface LsmtReport {
	/** `8-4-4-4-12` hex, all zeros when not given. */
	readonly uuid: string;
	readonly parentUuid: string;
	readonly userTag: string;
	/** Bytes of the disk; 0 means "as large as the layers below". */
	readonly virtualSize: number;
	/** Hexadecimal; see FORMATS.md 2.1. A writable layer has no trailer: `0x0`. */
	readonly headerFlags: string;
	readonly trailerFlags: string;
	/** Bytes from the start of the uncompressed layer; 0 for writable layers. */
	readonly indexOffset: number;
	/** Index records in the file, padding included. */
	readonly records: number;
	readonly padding: number;
	/** Segments in use, and how many of them are zeroed ranges. */
	readonly segments: number;
	readonly zeroed: number;
	/** Bytes of the disk that this layer holds data for, and that it makes zero. */
	readonly dataBytes: number;
	readonly zeroedBytes: number;
}

/** What a turboOCI layer reads of the ordinary layer it points into. */
export interface TurboReport {
	readonly target: string;
	/** Bytes of the ordinary layer's blob. */
	readonly targetSize: number;
	readonly gzip: boolean;
	/** Places where decompression can start; 0 for a plain tar. */
	readonly indexEntries: number;
	/** Bytes of the ordinary layer's tar. */
	readonly plainSize: number;
	/** Bytes of the disk that come from it. */
	readonly targetBytes: number;
}

export interface LayerReport {
	readonly kind: 'sealed' | 'turbo' | 'writable' | 'sparse' | 'unknown';
	/** Bytes of the file (of the data file for a writable layer). */
	readonly size: number;
	readonly tar?: TarReport;
	readonly zfile?: ZFileReport;
	readonly lsmt?: LsmtReport;
	readonly turbo?: TurboReport;
	/** What is wrong with the file; empty when every checksum and every structure is right. */
	readonly problems: readonly string[];
}

export interface ThreadOptions {
	/** Default: all cores. */
	readonly threads?: number;
}

export interface ZFileOptions extends ThreadOptions {
	/** Default lz4. */
	readonly algorithm?: 'lz4' | 'zstd';
	/** 4096 (default), 8192, 16384 or 32768 bytes. */
	readonly blockSize?: number;
	/** Wrap the result into a tar with the entry `overlaybd.commit`. */
	readonly tar?: boolean;
}

export interface CommitLayerOptions extends ZFileOptions {
	/** `8-4-4-4-12` hex, any case. Default: zeros. */
	readonly uuid?: string;
	/** Default: the source's. */
	readonly parentUuid?: string;
	/** At most 256 bytes of UTF-8. */
	readonly userTag?: string;
	/** Default true; false gives the plain LSMT file. */
	readonly compress?: boolean;
	/** Default true. */
	readonly tar?: boolean;
}

export interface CommittedFile {
	/** `sha256:...` of the file. */
	readonly digest: string;
	/** Bytes of the file. */
	readonly size: number;
	readonly segments: number;
	/** Bytes of disk data in the layer, before compression. */
	readonly dataBytes: number;
}

export interface FlattenResult {
	/** Bytes of the disk. */
	readonly size: number;
	/** Bytes written; the rest of the file is holes. */
	readonly written: number;
}

interface NativeLayerFiles {
	readonly path: string;
	readonly index?: string;
	readonly target?: string;
}

interface LayersAddon {
	inspectLayer(layer: NativeLayerFiles, options: ThreadOptions): Promise<LayerReport>;
	flatten(layers: readonly NativeLayerFiles[], out: string, options: ThreadOptions): Promise<FlattenResult>;
	commitLayerFile(layer: NativeLayerFiles, out: string, options: CommitLayerOptions): Promise<CommittedFile>;
	compressFile(from: string, to: string, options: ZFileOptions): Promise<number>;
	decompressFile(from: string, to: string): Promise<number>;
}

const addon = (): LayersAddon => nativeAddon() as LayersAddon;

function files(layer: LayerFile): NativeLayerFiles {
	if (typeof layer === 'string') return { path: layer };
	return 'archive' in layer ? { path: layer.archive, target: layer.target } : { path: layer.data, index: layer.index };
}

/** Options are checked here, at the door: what is wrong with them, named with the value received. */
function check(options: ZFileOptions): void {
	const { threads, algorithm, blockSize } = options;
	if (threads !== undefined && (!Number.isInteger(threads) || threads < 1 || threads > 1024)) {
		throw new TypeError(`threads must be an integer from 1 to 1024, not ${String(threads)}`);
	}
	if (algorithm !== undefined && algorithm !== 'lz4' && algorithm !== 'zstd') {
		throw new TypeError(`algorithm must be lz4 or zstd, not ${String(algorithm)}`);
	}
	if (blockSize !== undefined && ![4096, 8192, 16384, 32768].includes(blockSize)) {
		throw new TypeError(`blockSize must be 4096, 8192, 16384 or 32768, not ${String(blockSize)}`);
	}
}

/** Reads everything a layer file holds and checks every checksum. Damage is reported in `problems`; rejects
 *  only when the file cannot be read at all. */
export async function inspectLayer(layer: LayerFile, options: ThreadOptions = {}): Promise<LayerReport> {
	check(options);
	return addon().inspectLayer(files(layer), options);
}

/** Writes the disk that `layers` (bottom first) show to the sparse raw file `out`, replacing it when done. */
export async function flatten(layers: readonly LayerFile[], out: string, options: ThreadOptions = {}): Promise<FlattenResult> {
	check(options);
	if (layers.length === 0) throw new TypeError('flatten needs at least one layer');
	return addon().flatten(layers.map(files), out, options);
}

/** Makes the sealed layer `out` of a writable layer, or of a sealed one, as `overlaybd-commit` does, byte for
 *  byte (FORMATS.md 2.3). */
export async function commitLayer(layer: LayerFile, out: string, options: CommitLayerOptions = {}): Promise<CommittedFile> {
	check(options);
	return addon().commitLayerFile(files(layer), out, options);
}

/** Compresses any file into a ZFile, as `overlaybd-zfile` does. Resolves with its size in bytes. */
export async function compressFile(from: string, to: string, options: ZFileOptions = {}): Promise<number> {
	check(options);
	return addon().compressFile(from, to, options);
}

/** The reverse of `compressFile`. Resolves with the plain size in bytes. */
export function decompressFile(from: string, to: string): Promise<number> {
	return addon().decompressFile(from, to);
}
