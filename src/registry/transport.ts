// One HTTP request and its answer: keep-alive connections, timeouts, cancellation. No retries, no
// authentication, no redirects: those are the endpoint's.
import type { ClientRequest, IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http';
import { Readable } from 'node:stream';
import { Agents, type Route } from './agents.js';
import { asked, RegistryError, statusError } from './errors.js';
import type { HostConfig } from './hosts.js';
import { sendHttp2 } from './http2.js';
import type { ProxyEnvironment } from './proxy.js';
import { allowManyListeners, isTimeout, untilAborted } from './signals.js';

/** A body that can be sent again. */
export type RequestBody = Uint8Array | { readonly size: number; open(): AsyncIterable<Uint8Array> };

export interface HttpRequest {
	readonly method: string;
	readonly url: URL;
	readonly headers: OutgoingHttpHeaders;
	readonly body?: RequestBody;
	readonly tls?: HostConfig;
	readonly signal?: AbortSignal;
	/** Milliseconds without a byte in either direction. */
	readonly idleTimeout?: number;
	/** Called with the bytes handed to the connection so far. */
	readonly onSent?: (bytes: number) => void;
}

export type ResponseBody = Readable & {
	/** Whether all of it has come. */
	readonly complete: boolean;
};

export interface HttpResponse {
	readonly status: number;
	readonly statusText: string;
	readonly headers: IncomingHttpHeaders;
	readonly body: ResponseBody;
	/** Where the answer came from. */
	readonly url: URL;
	/** The request it answers. */
	readonly method: string;
}

const defaultIdleTimeout = 60_000;
const maxErrorBody = 64 * 1024;

/** Errors of the connection that may be gone the next time. */
const transientCodes = new Set(['ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'EAI_AGAIN', 'ECONNABORTED', 'ENETUNREACH', 'EHOSTUNREACH', 'HPE_INVALID_EOF_STATE']);

/** A certificate nobody we know has signed. */
const unknownAuthority = new Set(['UNABLE_TO_GET_ISSUER_CERT', 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'SELF_SIGNED_CERT_IN_CHAIN', 'DEPTH_ZERO_SELF_SIGNED_CERT']);

export class Transport {
	readonly #agents: Agents;

	constructor(environment: ProxyEnvironment = process.env) {
		this.#agents = new Agents(environment);
	}

	/** Sends a request; resolves with the answer's head whatever its status. The caller consumes the body. */
	async send(request: HttpRequest): Promise<HttpResponse> {
		request.signal?.throwIfAborted();
		allowManyListeners(request.signal);
		for (;;) {
			const route = await this.#agents.route(request.url, request.tls ?? {});
			try {
				return await this.#sendOn(route, request);
			} catch (error) {
				if (!this.#mayTryAgain(request, route, error)) throw error;
			}
		}
	}

	async #sendOn(route: Route, request: HttpRequest): Promise<HttpResponse> {
		const idleTimeout = request.idleTimeout ?? defaultIdleTimeout;
		if (route.http2 === undefined || request.body !== undefined) return sendOnce({ ...request, idleTimeout }, route);
		try {
			const session = await untilAborted(route.http2(idleTimeout), request.signal);
			return await (session ? sendHttp2(session, request, idleTimeout) : sendOnce({ ...request, idleTimeout }, route));
		} catch (error) {
			throw cancelled(request.signal) ? request.signal?.reason : networkError(request.method, request.url, deadSession(error));
		}
	}

	/** What is no trouble of the registry: a kept connection that had died, a certificate only this system knows. */
	#mayTryAgain(request: HttpRequest, route: Route, error: unknown): boolean {
		if (!(error instanceof RegistryError) || request.signal?.aborted === true) return false;
		const code = (error.cause as NodeJS.ErrnoException | undefined)?.code ?? '';
		if (unknownAuthority.has(code)) return !route.trustsSystem && this.#agents.trustSystem();
		return error.cause instanceof DeadConnectionError && (request.body === undefined || request.body instanceof Uint8Array);
	}

	/** Closes all connections; requests under way fail. */
	close(): void {
		this.#agents.close();
	}
}

/** Somebody no longer wants the answer. */
function cancelled(signal: AbortSignal | undefined): boolean {
	return signal?.aborted === true && !isTimeout(signal);
}

/** A session that ended between two requests is no error of either. */
function deadSession(error: unknown): unknown {
	const { code, message } = error as NodeJS.ErrnoException;
	return /^ERR_HTTP2_(INVALID_SESSION|GOAWAY_SESSION)$/.test(code ?? '') ? new DeadConnectionError(message) : error;
}

/** A connection from the pool that the other side had closed meanwhile. */
class DeadConnectionError extends Error {
	readonly code = 'ECONNRESET';
}

function sendOnce(request: HttpRequest, { client, agent, overrides, headers }: Route): Promise<HttpResponse> {
	const { url } = request;
	return new Promise((resolve, reject) => {
		const outgoing = client.request(url, { ...overrides, method: request.method, headers: { ...headers, ...requestHeaders(request) }, agent });
		const stopSending = new AbortController();
		const abort = () => outgoing.destroy(request.signal?.reason as Error | undefined);
		request.signal?.addEventListener('abort', abort, { once: true });
		outgoing.setTimeout(request.idleTimeout ?? defaultIdleTimeout, () => {
			outgoing.destroy(Object.assign(new Error('no data received in time'), { code: 'ETIMEDOUT' }));
		});
		outgoing.on('error', (error: NodeJS.ErrnoException) => {
			stopSending.abort();
			request.signal?.removeEventListener('abort', abort);
			const dead = outgoing.reusedSocket && (error.code === 'ECONNRESET' || error.code === 'EPIPE');
			reject(cancelled(request.signal) ? request.signal?.reason : networkError(request.method, url, dead ? new DeadConnectionError(error.message) : error));
		});
		outgoing.on('response', (incoming) => {
			// An answer before the end of the body is a refusal: what is left need not be sent.
			if (!outgoing.writableFinished) {
				stopSending.abort();
				incoming.once('close', () => outgoing.destroy());
			}
			incoming.once('close', () => request.signal?.removeEventListener('abort', abort));
			resolve({
				status: incoming.statusCode ?? 0, statusText: incoming.statusMessage ?? '',
				headers: incoming.headers, body: incoming, url, method: request.method,
			});
		});
		sendBody(outgoing, request, stopSending.signal);
	});
}

function requestHeaders({ headers, body }: HttpRequest): OutgoingHttpHeaders {
	if (body === undefined) return headers;
	return { ...headers, 'content-length': body instanceof Uint8Array ? body.length : body.size };
}

function sendBody(outgoing: ClientRequest, { body, onSent }: HttpRequest, stop: AbortSignal): void {
	if (body === undefined || body instanceof Uint8Array) {
		outgoing.end(body);
		if (body !== undefined) outgoing.once('finish', () => onSent?.(body.length));
		return;
	}
	sendStream(outgoing, body.open(), stop, onSent).catch((error: unknown) => {
		if (!stop.aborted) outgoing.destroy(error as Error);
	});
}

async function sendStream(outgoing: ClientRequest, chunks: AsyncIterable<Uint8Array>, stop: AbortSignal, onSent?: (bytes: number) => void): Promise<void> {
	let sent = 0;
	for await (const chunk of chunks) {
		if (stop.aborted) return;
		const flowing = outgoing.write(chunk);
		sent += chunk.length;
		onSent?.(sent);
		if (!flowing) await drained(outgoing, stop);
	}
	if (!stop.aborted) outgoing.end();
}

function drained(outgoing: ClientRequest, stop: AbortSignal): Promise<void> {
	return new Promise((resolve) => {
		const done = () => {
			outgoing.off('drain', done);
			stop.removeEventListener('abort', done);
			resolve();
		};
		outgoing.once('drain', done);
		stop.addEventListener('abort', done, { once: true });
		if (stop.aborted) done();
	});
}

/** A failed connection as a registry error. */
export function networkError(method: string, url: URL, error: unknown): RegistryError {
	if (error instanceof RegistryError) return error;
	const { code, message } = error as NodeJS.ErrnoException;
	const retryable = typeof code === 'string' && (transientCodes.has(code) || /^ERR_(HTTP2_|STREAM_PREMATURE_CLOSE)/.test(code));
	const text = `failed to do request: ${method} ${printable(url)}: ${message === '' ? code ?? 'unknown error' : message}`;
	return new RegistryError(text, { ...asked(method, url), kind: 'network', retryable, cause: error });
}

function printable(url: URL): string {
	return `${url.protocol}//${url.host}${url.pathname}`;
}

/** The answer's body as one buffer; an answer longer than `limit` bytes is an error. */
export async function readBody(response: HttpResponse, limit: number): Promise<Buffer> {
	const chunks: Buffer[] = [];
	let size = 0;
	try {
		for await (const chunk of response.body as AsyncIterable<Buffer>) {
			size += chunk.length;
			if (size > limit) {
				throw new RegistryError(`the answer to ${response.method} ${printable(response.url)} is longer than ${limit} bytes`, { ...asked(response.method, response.url), kind: 'protocol' });
			}
			chunks.push(chunk);
		}
	} catch (error) {
		throw networkError(response.method, response.url, error);
	} finally {
		if (!response.body.complete) response.body.destroy();
	}
	return Buffer.concat(chunks);
}

/** Reads a body nobody wants, so that its connection can be used again. */
export async function discardBody(response: HttpResponse): Promise<void> {
	await readBody(response, maxErrorBody).catch(() => response.body.destroy());
}

/** The error for an answer with an unwanted status; consumes the body. */
export async function unexpectedStatus(response: HttpResponse): Promise<RegistryError> {
	const body = await readBody(response, maxErrorBody).catch(() => Buffer.alloc(0));
	return statusError(response.method, response.url, response.status, response.statusText, body, retryAfter(response.headers));
}

/** Milliseconds of a Retry-After header: seconds or a date. */
function retryAfter(headers: IncomingHttpHeaders): number | undefined {
	const value = headers['retry-after'];
	if (value === undefined) return undefined;
	const milliseconds = /^[0-9]+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
	return Number.isFinite(milliseconds) ? Math.max(0, milliseconds) : undefined;
}

/** A stream over chunks made by a generator. */
export function streamOf(chunks: AsyncIterable<Uint8Array>): Readable {
	return Readable.from(chunks, { objectMode: false, highWaterMark: 1024 * 1024 });
}
