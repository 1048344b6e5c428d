// HTTP/2 as both sides are set up.
import type { Http2Session, SessionOptions } from 'node:http2';

/** Bytes a stream, and a connection, may have in flight. */
const streamWindow = 1024 * 1024;
const connectionWindow = 8 * 1024 * 1024;

export const sessionOptions: SessionOptions = {
	settings: { initialWindowSize: streamWindow, maxHeaderListSize: 1024 * 1024, enablePush: false },
	// A status carries the whole Dockerfile an error is in.
	maxSendHeaderBlockLength: 1024 * 1024,
	// Megabytes. The default refuses streams of a connection whose peer reads slowly.
	maxSessionMemory: 256,
};

/** Of a server: a client that asks to push is told no by not being asked. */
export function serverOptions(): SessionOptions {
	const { enablePush: _, ...settings } = sessionOptions.settings ?? {};
	return { ...sessionOptions, settings };
}

export function widenWindow(session: Http2Session): void {
	session.setLocalWindowSize(connectionWindow);
}

/** Milliseconds of a `grpc-timeout` header; undefined when there is none or it is not understood. */
export function parseTimeout(text: string | undefined): number | undefined {
	const match = /^(\d{1,8})([HMSmun])$/.exec(text ?? '');
	if (!match) return undefined;
	const unit = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 0.001, n: 0.000_001 }[match[2] ?? 'S'] ?? 1000;
	return Number(match[1]) * unit;
}
