import type { LowerLayer, RemoteSource } from '../device/types.js';

/** A sealed layer as plain data: what the cache stores and an exporter describes. */
export interface SealedLayer {
	/** `sha256:...` of the blob, which is also its diffID. */
	readonly digest: string;
	/** Bytes of the blob. */
	readonly size: number;
	/** Lower-case 8-4-4-4-12; absent for a base layer whose header was not read. */
	readonly uuid?: string;
	/** When the step that made it ended; RFC 3339. */
	readonly createdAt?: string;
	/** Where the blob can be read when it is not in the store. */
	readonly source?: RemoteSource;
	/** The ordinary OCI layer this one was converted from. */
	readonly origin?: LayerOrigin;
	/** What a layer of a turboOCI base is besides its blob. */
	readonly turbo?: TurboInfo;
}

/** A turboOCI layer: its blob describes the file system, the ordinary layer it was made of has the contents. */
export interface TurboInfo {
	/** Of the uncompressed blob. */
	readonly diffId: string;
	/** As its descriptor has them. */
	readonly mediaType: string;
	readonly annotations: Readonly<Record<string, string>>;
	/** The ordinary layer; in the same repository. */
	readonly target: { readonly mediaType: string; readonly digest: string; readonly size: number };
}

/** An ordinary OCI layer with the same content. */
export interface LayerOrigin {
	readonly mediaType: string;
	readonly digest: string;
	readonly size: number;
	readonly diffId: string;
	/** The registry it is in, if it came from one. */
	readonly source?: RemoteSource;
}

/**
 * One layer of a snapshot. A layer that was sealed live can be attached at once, while its blob is still
 * being compressed; `sealed` resolves when the blob is in the store.
 */
export interface Layer {
	/** Identity within this process: the digest, or the frozen layer's id. */
	readonly id: string;
	readonly uuid: string | undefined;
	readonly sealed: Promise<SealedLayer>;
	/** How the device server opens it now. Throws when it is neither in the store nor in a registry. */
	lower(): Promise<LowerLayer>;
}

/** An immutable file system: a chain of layers, bottom first. No layers: an empty file system. */
export interface Snapshot {
	/** Equal ids are equal file systems: the ids of the chain. */
	readonly id: string;
	readonly layers: readonly Layer[];
	/** An overlaybd trace file: what is likely to be read of the layers first. */
	readonly trace?: Uint8Array;
}

export const scratch: Snapshot = { id: '', layers: [] };

export function snapshotOf(layers: readonly Layer[]): Snapshot {
	return { id: layers.map((layer) => layer.id).join(','), layers };
}

export interface LayerBlob {
	readonly digest: string;
	/** Bytes. */
	readonly size: number;
}

/** All blobs that a layer is read from. */
export function blobsOf({ digest, size, turbo }: SealedLayer): LayerBlob[] {
	return [{ digest, size }, ...(turbo ? [turbo.target] : [])];
}

/** The chain's blobs, bottom first, once all are in the store. */
export function sealedLayers(snapshot: Snapshot): Promise<SealedLayer[]> {
	return Promise.all(snapshot.layers.map((layer) => layer.sealed));
}
