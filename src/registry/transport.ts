// One HTTP request and its answer: keep-alive connections, timeouts, cancellation. No retries, no
// authentication, no redirects: those are the endpoint's.
import { setMaxListeners } from 'node:events';
import { readFileSync } from 'node:fs';
import http, { type IncomingHttpHeaders, type IncomingMessage, type OutgoingHttpHeaders } from 'node:http';
import type https from 'node:https';
import { Readable } from 'node:stream';
import { asked, RegistryError, statusError } from './errors.js';
import type { HostConfig } from './hosts.js';

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

export interface HttpResponse {
	readonly status: number;
	readonly statusText: string;
	readonly headers: IncomingHttpHeaders;
	readonly body: IncomingMessage;
	/** Where the answer came from. */
	readonly url: URL;
	/** The request it answers. */
	readonly method: string;
}

const defaultIdleTimeout = 60_000;
/** Enough for parallel pulls, pushes and lazy reads, few enough for a small registry. */
const maxSockets = 24;
const maxErrorBody = 64 * 1024;

/** Errors of the connection that may be gone the next time. */
const transientCodes = new Set(['ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'EAI_AGAIN', 'ECONNABORTED', 'ENETUNREACH', 'EHOSTUNREACH', 'HPE_INVALID_EOF_STATE']);

export class Transport {
	readonly #http = new http.Agent({ keepAlive: true, maxSockets, scheduling: 'lifo' });
	readonly #https = new Map<string, https.Agent>();

	/** Sends a request; resolves with the answer's head whatever its status. The caller consumes the body. */
	async send(request: HttpRequest): Promise<HttpResponse> {
		request.signal?.throwIfAborted();
		// One signal stops all requests of a build; that many listeners are no leak.
		if (request.signal !== undefined) setMaxListeners(0, request.signal);
		const { url } = request;
		const client = url.protocol === 'https:' ? await import('node:https') : http;
		const agent = url.protocol === 'https:' ? await this.#httpsAgent(request.tls ?? {}) : this.#http;
		return new Promise((resolve, reject) => {
			const outgoing = client.request(url, { method: request.method, headers: requestHeaders(request), agent });
			const stopSending = new AbortController();
			const abort = () => outgoing.destroy(request.signal?.reason as Error | undefined);
			request.signal?.addEventListener('abort', abort, { once: true });
			outgoing.setTimeout(request.idleTimeout ?? defaultIdleTimeout, () => {
				outgoing.destroy(Object.assign(new Error('no data received in time'), { code: 'ETIMEDOUT' }));
			});
			outgoing.on('error', (error) => {
				stopSending.abort();
				request.signal?.removeEventListener('abort', abort);
				const cancelled = request.signal?.aborted === true && !isTimeout(request.signal);
				reject(cancelled ? request.signal.reason : networkError(request.method, url, error, outgoing.reusedSocket));
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

	async #httpsAgent(config: HostConfig): Promise<https.Agent> {
		const key = JSON.stringify([config.insecure === true, config.ca ?? [], config.keyPairs ?? []]);
		let agent = this.#https.get(key);
		if (agent === undefined) {
			const { Agent } = await import('node:https');
			agent = new Agent({ keepAlive: true, maxSockets, scheduling: 'lifo', ...await tlsOptions(config) });
			this.#https.set(key, agent);
		}
		return agent;
	}

	/** Closes all connections; requests under way fail. */
	close(): void {
		this.#http.destroy();
		for (const agent of this.#https.values()) agent.destroy();
	}
}

async function tlsOptions(config: HostConfig): Promise<https.AgentOptions> {
	const pairs = config.keyPairs ?? [];
	const { rootCertificates } = await import('node:tls');
	return {
		...(config.insecure === true && { rejectUnauthorized: false }),
		...(config.ca !== undefined && config.ca.length > 0 && { ca: [...config.ca.map((file) => readFileSync(file, 'utf8')), ...rootCertificates] }),
		...(pairs.length > 0 && {
			cert: pairs.map((pair) => readFileSync(pair.certificate, 'utf8')),
			key: pairs.map((pair) => readFileSync(pair.key, 'utf8')),
		}),
	};
}

function requestHeaders({ headers, body }: HttpRequest): OutgoingHttpHeaders {
	if (body === undefined) return headers;
	return { ...headers, 'content-length': body instanceof Uint8Array ? body.length : body.size };
}

function sendBody(outgoing: http.ClientRequest, { body, onSent }: HttpRequest, stop: AbortSignal): void {
	if (body === undefined || body instanceof Uint8Array) {
		outgoing.end(body);
		if (body !== undefined) outgoing.once('finish', () => onSent?.(body.length));
		return;
	}
	sendStream(outgoing, body.open(), stop, onSent).catch((error: unknown) => {
		if (!stop.aborted) outgoing.destroy(error as Error);
	});
}

async function sendStream(outgoing: http.ClientRequest, chunks: AsyncIterable<Uint8Array>, stop: AbortSignal, onSent?: (bytes: number) => void): Promise<void> {
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

function drained(outgoing: http.ClientRequest, stop: AbortSignal): Promise<void> {
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

/** Whether a signal was fired by a time limit, not by somebody who no longer wants the result. */
export function isTimeout(signal: AbortSignal): boolean {
	return signal.aborted && (signal.reason as Error | undefined)?.name === 'TimeoutError';
}

/** A failed connection as a registry error. */
export function networkError(method: string, url: URL, error: unknown, reusedSocket = false): RegistryError {
	if (error instanceof RegistryError) return error;
	const { code, message } = error as NodeJS.ErrnoException;
	const retryable = reusedSocket || (code !== undefined && transientCodes.has(code));
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
