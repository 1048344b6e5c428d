// gRPC's client over any duplex stream: the other end of a tunnel, a container's standard input and output.
import http2, { type ClientHttp2Session, type ClientHttp2Stream, type IncomingHttpHeaders } from 'node:http2';
import type { Duplex } from 'node:stream';
import { destroySession, resetAsCanceled } from '../http2/index.js';
import { MessageReader, onlyMessage, writeMessage } from './framing.js';
import { sessionOptions, widenWindow } from './http2.js';
import { Metadata, toHeaders, type OutgoingMetadata } from './metadata.js';
import type { Method, RequestOf, ResponseOf } from './service.js';
import { Code, RpcError, trailersError } from './status.js';

export interface CallOptions {
	readonly metadata?: OutgoingMetadata;
	/** Cancels the call, there as well. */
	readonly signal?: AbortSignal;
	/** Milliseconds. */
	readonly timeout?: number;
}

export class RpcClient {
	readonly #session: ClientHttp2Session;
	readonly #closed: Promise<void>;
	#failure: Error | undefined;
	#isClosing = false;

	/** The client owns the stream: it ends when `close` is called, and when the stream does. */
	constructor(duplex: Duplex) {
		this.#session = http2.connect('http://localhost', { ...sessionOptions, createConnection: () => duplex });
		this.#session.on('error', (error: Error) => { this.#failure ??= error; });
		this.#session.once('connect', () => { widenWindow(this.#session); });
		this.#closed = new Promise((resolve) => { this.#session.once('close', () => { resolve(); }); });
		duplex.once('close', () => { this.close(); });
	}

	/** Resolves when the connection has ended. */
	get closed(): Promise<void> {
		return this.#closed;
	}

	get isClosed(): boolean {
		return this.#isClosing || this.#session.destroyed || this.#session.closed;
	}

	/** A call with one request and one response. Throws RpcError. */
	async unary<M extends object>(service: string, method: M & Method<RequestOf<M>, ResponseOf<M>>, request: RequestOf<M>, options: CallOptions = {}): Promise<ResponseOf<M>> {
		const call = this.call<M>(service, method, options);
		try {
			// If it does not get through, the response says why.
			await call.send(request).catch(() => undefined);
			call.end();
			return await call.only();
		} finally {
			call.cancel();
		}
	}

	/** Starts a call. The caller sends, ends, reads the responses, and cancels what it does not read to the end. */
	call<M extends object>(service: string, method: M & Method<RequestOf<M>, ResponseOf<M>>, { metadata = {}, signal, timeout }: CallOptions = {}): ClientCall<RequestOf<M>, ResponseOf<M>> {
		signal?.throwIfAborted();
		if (this.isClosed) throw unavailable(this.#failure);
		const stream = this.#session.request({
			':method': 'POST',
			':path': `/${service}/${method.name}`,
			'content-type': 'application/grpc',
			te: 'trailers',
			...(timeout !== undefined && { 'grpc-timeout': `${Math.ceil(timeout)}m` }),
			...toHeaders(metadata),
		}, { endStream: false });
		resetAsCanceled(stream);
		return new ClientCall(stream, method, { ...(signal && { signal }), ...(timeout !== undefined && { timeout }) }, () => this.#failure);
	}

	/** Ends the connection; calls that still run fail. */
	close(): void {
		this.#isClosing = true;
		destroySession(this.#session);
	}
}

/** A running call; iterating it gives the responses. */
export class ClientCall<Request, Response> implements AsyncIterable<Response> {
	readonly #responses: MessageReader<Response>;
	readonly #cleanUp: () => void;
	#trailers: Metadata | undefined;
	#failure: RpcError | undefined;

	constructor(private readonly stream: ClientHttp2Stream, private readonly method: Method<Request, Response>, { signal, timeout }: CallOptions, connectionFailure: () => Error | undefined) {
		this.#responses = new MessageReader(stream, method.responseType);
		stream.once('response', (headers: IncomingHttpHeaders, _flags: number, ...[raw]: [string[]?]) => {
			const metadata = new Metadata(raw ?? []);
			if (headers['grpc-status'] !== undefined) this.#trailers = metadata;
			else if (Number(headers[':status']) !== 200) this.#failure ??= new RpcError(Code.UNAVAILABLE, `unexpected HTTP status code received from server: ${headers[':status'] ?? ''}`);
		});
		stream.once('trailers', (_headers: IncomingHttpHeaders, _flags: number, ...[raw]: [string[]?]) => { this.#trailers = new Metadata(raw ?? []); });
		stream.on('error', () => undefined); // seen as the end of the stream
		const settle = (): void => {
			this.#cleanUp();
			this.#responses.finish(this.#outcome(connectionFailure()));
		};
		// The last of the answer ends the call: a stream with something left to send, that nobody takes any more, would never close.
		stream.once('end', () => {
			settle();
			stream.destroy();
		});
		stream.once('close', settle);
		const abort = (): void => { this.#fail(new RpcError(Code.CANCELED, 'context canceled')); };
		const timer = timeout === undefined ? undefined : setTimeout(() => { this.#fail(new RpcError(Code.DEADLINE_EXCEEDED, 'context deadline exceeded')); }, timeout);
		signal?.addEventListener('abort', abort, { once: true });
		this.#cleanUp = () => {
			clearTimeout(timer);
			signal?.removeEventListener('abort', abort);
		};
	}

	/** Resolves when the connection takes more. Rejects when the call has ended; why, the responses say. */
	send(request: Request): Promise<void> {
		return writeMessage(this.stream, this.method.requestType, request);
	}

	/** Nothing more will be sent. */
	end(): void {
		if (!this.stream.writableEnded && !this.stream.destroyed) this.stream.end();
	}

	[Symbol.asyncIterator](): AsyncIterator<Response> {
		return this.#responses;
	}

	/** The response of a method that has one. */
	only(): Promise<Response> {
		return onlyMessage(this.#responses);
	}

	/** Gives the call up; without effect once it has ended. */
	cancel(): void {
		this.#fail(new RpcError(Code.CANCELED, 'context canceled'));
	}

	#fail(error: RpcError): void {
		if (this.stream.closed || this.stream.destroyed) return;
		this.#failure ??= error;
		this.#responses.finish(error);
		// Not `close`: flow control may hold back what that waits for.
		this.stream.destroy();
	}

	#outcome(connectionFailure: Error | undefined): RpcError | undefined {
		if (this.#failure) return this.#failure;
		if (this.#trailers) return trailersError(this.#trailers);
		return unavailable(connectionFailure);
	}
}

function unavailable(cause: Error | undefined): RpcError {
	return new RpcError(Code.UNAVAILABLE, cause ? `error reading from server: ${cause.message}` : 'the connection to the client has ended', [], { cause });
}
