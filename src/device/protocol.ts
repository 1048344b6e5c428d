// What the builder and the device server process say to each other: calls of the builder, and events of
// the server.
import type { DeviceKind } from '../native/device.js';
import type { HostConfigs } from '../registry/index.js';
import type { ServedSnapshot } from './served-state.js';
import type { CommittedLayer, CommitOptions, DeviceError, DeviceStats, ExplainedReads, LowerLayer, TracedRun } from './types.js';

/**
 * The methods of the server: parameter and result. The builder names devices and writable layers, so that a
 * call can be made again when the server has died over it.
 */
export interface ServerMethods {
	/** `top`: the writable layer to make. */
	attach: { params: { device: string; lowers: readonly LowerLayer[]; top?: string; virtualSize?: number; verify?: boolean; recordTrace?: boolean }; result: { path: string; size: number } };
	/** `next`: the writable layer to make. The result is the one that was frozen. */
	seal: { params: { device: string; next: string; ifWrites?: number }; result: { layer?: string } };
	stats: { params: { device: string }; result: DeviceStats };
	detach: { params: { device: string }; result: null };
	commit: { params: CommitOptions & { layer: string }; result: CommittedLayer };
	release: { params: { layer: string }; result: null };
	/** The trace is base64. */
	recordedTrace: { params: { device: string }; result: string };
	replayTrace: { params: { device: string; trace: string }; result: null };
	takeTrace: { params: { device: string }; result: readonly TracedRun[] };
	prefetch: { params: { device: string; runs: readonly TracedRun[] }; result: null };
	fetched: { params: null; result: Readonly<Record<string, number>> };
	explainReads: { params: null; result: ExplainedReads };
	stopFetching: { params: null; result: null };
	resumeFetching: { params: null; result: null };
	/**
	 * The first call to a server that replaces one which died: takes the devices back. One that cannot be had
	 * any more is taken away, and calls for it fail with the reason. `generation` counts the servers.
	 */
	recover: { params: ServedSnapshot & { generation: number }; result: null };
	close: { params: null; result: null };
}
export type Method = keyof ServerMethods;

export interface ServerEvents {
	/** Sent once, when calls can come. */
	ready: null;
	deviceError: DeviceError;
}
export type EventName = keyof ServerEvents;

export interface CallMessage {
	readonly call: number;
	readonly method: Method;
	readonly params: unknown;
}
export interface ReplyMessage {
	readonly reply: number;
	readonly result?: unknown;
	readonly error?: { readonly message: string; readonly code?: string };
}
export interface EventMessage {
	readonly event: EventName;
	readonly data: unknown;
}
export type Message = CallMessage | ReplyMessage | EventMessage;

/** What the server process is started with, as JSON in its first argument. */
export interface ServerConfig {
	/** Of the store; the block cache is below it. */
	readonly root: string;
	/** Working files go here. */
	readonly directory: string;
	/** How the kernel reaches the devices. */
	readonly kind: DeviceKind;
	/** How to talk to registries; see the registry room. */
	readonly hosts: HostConfigs;
	readonly fetchTimeout?: number;
	readonly blockCacheSize?: number;
	/** Keeps what `explainReads` needs. */
	readonly noteReads?: boolean;
}
