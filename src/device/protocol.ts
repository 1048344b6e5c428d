// What the builder and the device server process say to each other: calls of the builder, and events of
// the server.
import type { DeviceKind } from '../native/device.js';
import type { HostConfigs, TokenRequest } from '../registry/index.js';
import type { ServedSnapshot } from './served-state.js';
import type { CommittedLayer, CommitOptions, DeviceError, DeviceStats, ExplainedReads, LowerLayer, RemoteSource, TracedRun } from './types.js';

/**
 * The methods of the server: parameter and result. The builder names devices and writable layers, so that a
 * call can be made again when the server has died over it.
 */
export interface ServerMethods {
	/** Opens layers before the attach that will want them, under a name to close them by. */
	open: { params: { layers: string; lowers: readonly LowerLayer[]; prefetch: readonly TracedRun[] }; result: null };
	closeLayers: { params: { layers: string }; result: null };
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
	/** A build has begun; `login` names who asks registries for its blobs. */
	enter: { params: { login: string }; result: null };
	/** It was shown these blobs at this place; without a login by this host itself. */
	lend: { params: LentBlobs; result: null };
	/** It has ended: nobody is asked in its name any more. */
	leave: { params: { login: string }; result: null };
	close: { params: null; result: null };
}
export type Method = keyof ServerMethods;

export interface LentBlobs {
	readonly login?: string;
	readonly source: RemoteSource;
	readonly digests: readonly string[];
}

/** What the server asks the builder when a registry wants to know who reads: credentials for a host, or a token. */
export type LoginQuestion = { readonly login: string; readonly host: string } | { readonly login: string; readonly token: TokenRequest };

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
export interface QuestionMessage {
	readonly ask: number;
	readonly question: LoginQuestion;
}
/** Without result and error: he has none. */
export interface AnswerMessage {
	readonly answer: number;
	readonly result?: unknown;
	readonly error?: string;
}
export type Message = CallMessage | ReplyMessage | EventMessage | QuestionMessage | AnswerMessage;

/** Milliseconds: longer than the kernel takes for anything on a busy machine. */
export const defaultDetachTimeout = 30_000;

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
	readonly detachTimeout?: number;
	readonly blockCacheSize?: number;
	/** Keeps what `explainReads` needs. */
	readonly noteReads?: boolean;
}
