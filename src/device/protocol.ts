// What the builder and the device server process say to each other: calls of the builder, and events of
// the server.
import type { DeviceKind } from '../native/device.js';
import type { HostConfigs } from '../registry/index.js';
import type { CommittedLayer, CommitOptions, DeviceError, DeviceStats, LowerLayer } from './types.js';

/** The methods of the server: parameter and result. */
export interface ServerMethods {
	attach: { params: { lowers: readonly LowerLayer[]; writable: boolean; virtualSize?: number }; result: { id: string; path: string; size: number } };
	seal: { params: { device: string; ifWrites?: number }; result: { layer?: string } };
	stats: { params: { device: string }; result: DeviceStats };
	detach: { params: { device: string }; result: null };
	commit: { params: CommitOptions & { layer: string }; result: CommittedLayer };
	release: { params: { layer: string }; result: null };
	fetched: { params: null; result: Readonly<Record<string, number>> };
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
}
