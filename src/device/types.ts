// What the rest of the builder knows of block devices. The device server process implements it; the
// snapshot room is its only user.
import type { LentBlobs, LoginQuestion } from './protocol.js';

/** A sealed or frozen layer that can stand below others in a stack. */
export type LowerLayer =
	/** A sealed layer blob on local disk; tar wrap and ZFile are detected (FORMATS.md 0). */
	| (LocalBlob & { readonly kind: 'blob' } & TurboLayer)
	/** A sealed layer blob in a registry, read lazily through the block cache. */
	| (RemoteBlob & { readonly kind: 'remote' } & TurboLayer)
	/** A layer frozen by `Device.seal` in this device server, whether committed already or not. */
	| { readonly kind: 'frozen'; readonly id: string };

export interface LocalBlob {
	readonly digest: string;
	/** Bytes. */
	readonly size: number;
	readonly path: string;
}

export interface RemoteBlob {
	readonly digest: string;
	/** Bytes. */
	readonly size: number;
	/** Opaque here: the device server hands it to its `fetch` function (registry room) unchanged. */
	readonly source: RemoteSource;
}

/** With a target, a blob is the archive of a turboOCI layer (FORMATS.md 6). */
interface TurboLayer {
	/** The blob of the ordinary layer that has the contents of the files. */
	readonly target?: LocalBlob | RemoteBlob;
}

/** Where a remote blob is read from: everything the registry room needs, as plain JSON. */
export interface RemoteSource {
	/** Registry reference of the repository, e.g. `127.0.0.1:5000/base`. */
	readonly repository: string;
	/** Plain http or unverified https is allowed for this registry. */
	readonly insecure: boolean;
}

export interface AttachOptions {
	/** Bottom first. Empty for a new disk (then `virtualSize` is required). */
	readonly lowers: readonly LowerLayer[];
	readonly writable: boolean;
	/** Bytes; only for a disk without lowers. Otherwise the lowers' size counts. */
	readonly virtualSize?: number;
	/** Reads remote lowers whole first, and compares them with their digests. */
	readonly verify?: boolean;
	/** Notes what is read (`Device.recordedTrace`). */
	readonly recordTrace?: boolean;
}

/** Layers that are open ahead of an attach. */
export interface OpenLayers {
	/** Devices that have them keep them. Idempotent. */
	close(): Promise<void>;
}

/** Neighbouring parts of a remote layer, as the block cache counts them. */
export interface TracedRun {
	readonly digest: string;
	readonly first: number;
	readonly count: number;
}

export interface DeviceStats {
	/** Counts write and discard requests since attach; equal numbers mean nothing was written in between. */
	readonly writes: number;
	readonly bytesRead: number;
	readonly bytesWritten: number;
	/** Fetched from registries for this device's layers, by layer digest. */
	readonly fetched: Readonly<Record<string, number>>;
}

/** An attached device. Owned by whoever attached it; `detach` releases everything and is idempotent. */
export interface Device {
	readonly id: string;
	/** The block device node, e.g. `/dev/loop3`. */
	readonly path: string;
	/** Bytes. */
	readonly size: number;
	/**
	 * Live seal: freezes the writable layer as it is now and stacks a fresh one on top, atomically with
	 * respect to writes. The frozen layer's ext4 superblock is made clean (valid state, free counts,
	 * checksum). The caller has synced the file system. With `ifWrites`, fails softly (`undefined`) when the
	 * write counter is no longer that number, or when the file system has a journal, which has to be frozen.
	 */
	seal(options?: { readonly ifWrites?: number }): Promise<FrozenLayer | undefined>;
	stats(): Promise<DeviceStats>;
	/** What was read of remote lowers since the last call (or the attach), in the order of the first read. */
	takeTrace(): Promise<readonly TracedRun[]>;
	/** Gets these parts before anybody reads them; returns at once. */
	prefetch(runs: readonly TracedRun[]): Promise<void>;
	/** What was read since an attach with `recordTrace`, as overlaybd's trace file. */
	recordedTrace(): Promise<Uint8Array>;
	/** Gets what a trace file, or a list of paths, names before anybody reads it; returns at once. Fails for a damaged file. */
	replayTrace(trace: Uint8Array): Promise<void>;
	/** Fails, and leaves the device up, while it is mounted or opened elsewhere. */
	detach(): Promise<void>;
}

export interface CommitOptions {
	/** Final path of the tar-wrapped blob; written beside it as a temp file and renamed. */
	readonly path: string;
	/** 8-4-4-4-12 hex, any case. */
	readonly uuid: string;
	readonly parentUuid?: string;
	/** The sealed layer that the frozen one lies on: the blob is both in one. */
	readonly former?: LocalBlob;
}

export interface CommittedLayer {
	/** `sha256:...` of the tar-wrapped blob: the descriptor's digest and the diffID. */
	readonly digest: string;
	/** Bytes of the blob. */
	readonly size: number;
	/** LSMT records in the layer. */
	readonly segments: number;
	/** Bytes of virtual disk data in the layer, before compression. */
	readonly dataBytes: number;
}

/** A layer frozen by a live seal: a lower for other devices at once, a blob once committed. */
export interface FrozenLayer {
	readonly id: string;
	/** Compresses, checksums, wraps and hashes the layer on native threads (FORMATS.md 2.3, 1, 3). */
	commit(options: CommitOptions): Promise<CommittedLayer>;
	/** Gives the working files back once no device uses them. */
	release(): Promise<void>;
}

/** A block request that ended in an I/O error, and why. */
export interface DeviceError {
	/** The device node. */
	readonly path: string;
	readonly operation: 'read' | 'write' | 'discard' | 'flush';
	/** Of the disk, bytes. */
	readonly offset: number;
	readonly length: number;
	/** Names the blob, the offset in it and the cause. */
	readonly message: string;
	/** The layer whose bytes could not be fetched, and where in the blob; absent for other causes. */
	readonly digest?: string;
	readonly blobOffset?: number;
}

/** Bytes fetched of a layer by the file behind them, the largest first; together all that was fetched of it. */
export interface FetchedPart {
	/** Of a file of the base; in brackets what is no file's. */
	readonly path: string;
	readonly bytes: number;
}
/** By layer digest; layers of which nothing was fetched are not in it. */
export type ExplainedReads = Readonly<Record<string, readonly FetchedPart[]>>;

/** What a device server is told of who may read remote blobs; in the order of the calls. */
export type AccessCall =
	| { readonly method: 'enter' | 'leave'; readonly params: { readonly login: string } }
	| { readonly method: 'lend'; readonly params: LentBlobs };

/** Who may read remote blobs; the builder knows. */
export interface Access {
	/** All a new device server has to be told. */
	calls(): readonly AccessCall[];
	/** Calls `listener` with what is new, until the returned function is called. */
	listen(listener: (call: AccessCall) => void): () => void;
	/** What he says who is asked; undefined: nothing. Throws when he fails, or is gone. */
	answer(question: LoginQuestion): Promise<unknown>;
}

/** The device server process as the builder sees it. */
export interface DeviceServer {
	/** Reads what opening these lowers takes, so that an attach need not wait for it, and begins to fetch `prefetch`. */
	open(lowers: readonly LowerLayer[], prefetch: readonly TracedRun[]): Promise<OpenLayers>;
	attach(options: AttachOptions): Promise<Device>;
	/** Calls `listener` for each failed block request of any device, until the returned function is called. */
	onError(listener: (error: DeviceError) => void): () => void;
	/** Why it is not there any more, when it has ended by itself. What it had is released then. */
	readonly failure: Error | undefined;
	/** Bytes fetched from registries since the start, by layer digest. */
	fetched(): Promise<Readonly<Record<string, number>>>;
	/** What these are; of a server that was started with `noteReads`. May fetch more to find out, which is not in it. */
	explainReads(): Promise<ExplainedReads>;
	/** Fails every read that waits for a registry, until `resumeFetching`: nothing that ends waits for a network. */
	stopFetching(): Promise<void>;
	resumeFetching(): Promise<void>;
	/** Ends the process if it has nothing to do, until something is opened or attached again. What it noted for `explainReads` is gone then. */
	rest(): Promise<void>;
	/** Detaches what is left and ends the process. */
	close(): Promise<void>;
}
