// The native side of the device server: layers and devices by number. Only the device server process calls
// it; see native/device/device_host.h for what each call does.
import { nativeAddon } from './index.js';

/** A request for bytes of a remote blob; answered by `receiveFetch`, and `completeFetch` or `failFetch`. */
export interface FetchRequest {
	readonly id: number;
	readonly digest: string;
	/** What `openRemoteLayer` was given. */
	readonly source: string;
	/** Bytes. */
	readonly blobSize: number;
	readonly offset: number;
	readonly length: number;
	/** What came the first time was damaged: another place may have it right. */
	readonly again: boolean;
}

/** A block request that failed with an I/O error. */
export interface DeviceFault {
	readonly device: number;
	readonly operation: 'read' | 'write' | 'discard' | 'flush';
	/** Of the disk, bytes. */
	readonly offset: number;
	readonly length: number;
	readonly message: string;
	/** The blob whose bytes could not be had, and where in it. */
	readonly digest?: string;
	readonly blobOffset?: number;
}

/** Paths of the two files of a writable layer. */
export interface WritableFiles {
	readonly data: string;
	readonly index: string;
}

/** Where the bytes of a blob are: in a file, or in a registry. */
export interface BlobPlace {
	readonly digest: string;
	/** Bytes. */
	readonly size: number;
	readonly path?: string;
	/** As for `openRemoteLayer`. */
	readonly source?: string;
}

/** How the kernel reaches a disk: native/device has a server for each. */
export type DeviceKind = 'fuse' | 'tcmu' | 'ublk';

/** Neighbouring extents of a remote layer (native/blob/extent_layout.h). */
export interface TracedRun {
	readonly digest: string;
	readonly first: number;
	readonly count: number;
}

interface DeviceAddon {
	/** The block cache in `cacheDir` takes no more than `cacheLimit` bytes, but for what is in use. */
	startDeviceHost(onFetch: (request: FetchRequest) => void, onFault: (fault: DeviceFault) => void, cacheDir: string, cacheLimit: number): void;
	openLayerFile(digest: string, path: string): Promise<number>;
	openRemoteLayer(digest: string, size: number, source: string): Promise<number>;
	/** A turboOCI layer: its archive, and the ordinary layer it points into. */
	openTurboLayer(archive: BlobPlace, target: BlobPlace): Promise<number>;
	/** Reads all of a remote layer and compares it with its digest. */
	verifyLayer(layer: number): Promise<void>;
	closeLayer(layer: number): void;
	attachDevice(kind: DeviceKind, lowers: readonly number[], writable: WritableFiles | undefined, virtualSize: number, label: string, directory: string, recordTrace: boolean): Promise<{ id: number; path: string; size: number }>;
	/**
	 * Serves on where a server that died has left a ublk or TCMU device. `writable` has the files it left; the
	 * write counter starts at `firstWrite`. Undefined when the kernel has no such device.
	 */
	takeOverDevice(kind: DeviceKind, lowers: readonly number[], writable: WritableFiles | undefined, label: string, directory: string, firstWrite: number): Promise<{ id: number; path: string } | undefined>;
	/** Opens a layer that a server which died has frozen, on these lowers. */
	openFrozenLayer(files: WritableFiles, lowers: readonly number[]): Promise<number>;
	sealDevice(device: number, next: WritableFiles, ifWrites: number | undefined): Promise<number | undefined>;
	/** False when it is in use. Fails, naming the step, when that takes longer than `patience` milliseconds: it goes on, and may be called again. */
	detachDevice(device: number, patience: number): Promise<boolean>;
	/** `former`: path of the sealed layer that the layer lies on; both become one. */
	commitLayer(layer: number, path: string, uuid: string, parentUuid: string | undefined, former: string | undefined): Promise<{ digest: string; size: number; segments: number; dataBytes: number }>;
	deviceCounters(device: number): { writes: number; bytesRead: number; bytesWritten: number };
	/** What was read of the device's remote layers since the last call, in the order of the first read. */
	takeTrace(device: number): TracedRun[];
	/** What was read of a device that was attached with `recordTrace`, as overlaybd's trace file (FORMATS.md 7). */
	recordedTrace(device: number): Buffer;
	/** Gets what a trace file, or a list of paths, names; returns at once. */
	replayTrace(device: number, trace: Uint8Array): void;
	/** Gets these extents before anybody reads them. */
	prefetchDevice(device: number, runs: readonly TracedRun[]): void;
	/** The same, of open layers. */
	prefetchLayers(layers: readonly number[], runs: readonly TracedRun[]): void;
	fetchedBytes(): Record<string, number>;
	/** Keeps what `explainReads` needs, from now on. */
	noteReads(): void;
	/** What was fetched by the files behind it, for each digest the largest first; each sums up to what was fetched. */
	explainReads(): Promise<Record<string, { path: string; bytes: number }[]>>;
	/** The next bytes of the answer to a request; they are copied. */
	receiveFetch(id: number, bytes: Uint8Array): void;
	/** These were the last. */
	completeFetch(id: number): void;
	failFetch(id: number, reason: string): void;
	/** Fails with what ublk lacks on this host. */
	checkUblk(): Promise<void>;
	/** The ublk and TCMU devices with this instance's label; `path` is empty for one that is half made. */
	listServed(label: string): Promise<{ number: number; path: string }[]>;
	/** Takes the device with this label away, its server being dead: what waits for it fails. `directory` as at the attach. Fails, naming the step, when that takes longer than `patience` milliseconds. */
	releaseServed(deviceLabel: string, directory: string, patience: number): Promise<void>;
	/** Takes the TCMU adapter of the instance with this label away, when it has no devices. */
	releaseAdapter(label: string): Promise<void>;
}

export const deviceAddon = (): DeviceAddon => nativeAddon() as DeviceAddon;
