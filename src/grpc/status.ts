// How a call ends: a code, a message, and details for programs.
import type { OutgoingHttpHeaders } from 'node:http2';
import { Any, Status } from './gen/status.js';
import type { Metadata } from './metadata.js';

export enum Code {
	OK = 0,
	CANCELED = 1,
	UNKNOWN = 2,
	INVALID_ARGUMENT = 3,
	DEADLINE_EXCEEDED = 4,
	NOT_FOUND = 5,
	ALREADY_EXISTS = 6,
	PERMISSION_DENIED = 7,
	RESOURCE_EXHAUSTED = 8,
	FAILED_PRECONDITION = 9,
	ABORTED = 10,
	OUT_OF_RANGE = 11,
	UNIMPLEMENTED = 12,
	INTERNAL = 13,
	UNAVAILABLE = 14,
	DATA_LOSS = 15,
	UNAUTHENTICATED = 16,
}

/** A call that failed, here or there. `message` is the bare text. */
export class RpcError extends Error {
	override readonly name = 'RpcError';

	constructor(readonly code: Code, message: string, readonly details: readonly Any[] = [], options?: ErrorOptions) {
		super(message, options);
	}
}

/** Any error as one a status can be made of. */
export function toRpcError(error: unknown): RpcError {
	if (error instanceof RpcError) return error;
	const message = error instanceof Error ? error.message : String(error);
	const isCanceled = error instanceof Error && (error.name === 'AbortError' || error.name === 'CanceledError');
	return new RpcError(isCanceled ? Code.CANCELED : Code.UNKNOWN, isCanceled ? 'context canceled' : message, [], { cause: error });
}

export function statusOf(error: unknown): Status {
	const { code, message, details } = toRpcError(error);
	return { code, message, details: [...details] };
}

export function errorOf(status: Status): RpcError {
	return new RpcError(status.code, status.message, status.details);
}

/** Trailers that say how a call ended. */
export function statusTrailers(error: RpcError | undefined): OutgoingHttpHeaders {
	if (!error) return { 'grpc-status': '0' };
	const details = error.details.length > 0 ? Buffer.from(Status.encode(statusOf(error)).finish()).toString('base64').replace(/=+$/, '') : '';
	return {
		'grpc-status': String(error.code),
		'grpc-message': percentEncode(error.message.slice(0, maxMessageChars)),
		...(details !== '' && details.length <= maxDetailChars && { 'grpc-status-details-bin': details }),
	};
}

/** Trailers that do not fit into a header block end the whole connection. */
const maxMessageChars = 32 * 1024;
const maxDetailChars = 768 * 1024;

/** How a call ended by its trailers; undefined: well. */
export function trailersError(trailers: Metadata): RpcError | undefined {
	const code = Number(trailers.get('grpc-status') ?? Code.UNKNOWN);
	if (code === 0) return undefined;
	const details = trailers.get('grpc-status-details-bin');
	const status = details === undefined ? undefined : decodeStatus(Buffer.from(details, 'base64'));
	return new RpcError(code, percentDecode(trailers.get('grpc-message') ?? ''), status?.details ?? []);
}

function decodeStatus(bytes: Uint8Array): Status | undefined {
	try {
		return Status.decode(bytes);
	} catch {
		return undefined; // the code and the message say what matters
	}
}

function percentEncode(text: string): string {
	return Buffer.from(text).toString('latin1').replace(/[^ -$&-~]/g, (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`);
}

function percentDecode(text: string): string {
	return Buffer.from(text.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16))), 'latin1').toString('utf8');
}
