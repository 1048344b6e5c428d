// One GET or HEAD of a web server as BuildKit's client makes it: redirects followed, gzip taken off.
import type { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { isRegistryError, type HttpResponse, type Transport } from '../registry/index.js';
import { redactCredentials } from './redact.js';

const maxRedirects = 10;

export interface WebRequest {
	readonly method: 'GET' | 'HEAD';
	readonly url: URL;
	/** Lower-case names. */
	readonly headers: Readonly<Record<string, string>>;
	readonly signal: AbortSignal;
}

/** The answer after redirects; its body must be read or destroyed. */
export async function sendRequest(transport: Transport, request: WebRequest): Promise<HttpResponse> {
	let { url } = request;
	let headers = { ...request.headers, 'accept-encoding': 'gzip' } as Record<string, string>;
	for (let redirects = 0; ; redirects++) {
		const response = await transport.send({ method: request.method, url, headers, signal: request.signal }).catch((error: unknown) => { throw inGoWords(error, request.method, url); });
		const { location } = response.headers;
		if (![301, 302, 303, 307, 308].includes(response.status) || location === undefined) return response;
		response.body.resume();
		if (redirects === maxRedirects) throw new Error(`${request.method} ${JSON.stringify(location)}: stopped after ${maxRedirects} redirects`);
		if (!URL.canParse(location, url.href)) throw new Error(`${request.method} ${url.href}: failed to parse Location header ${JSON.stringify(location)}`);
		const next = new URL(location, url);
		if (next.protocol !== 'http:' && next.protocol !== 'https:') throw new Error(`${request.method} ${url.href}: unsupported protocol scheme ${JSON.stringify(next.protocol)}`);
		if (!isSameSite(next.hostname, request.url.hostname)) {
			const { authorization: _secret, cookie: _cookie, ...others } = headers;
			headers = others;
		}
		url = next;
	}
}

/** A failed connection as BuildKit's client words it. */
function inGoWords(error: unknown, method: string, url: URL): unknown {
	if (!isRegistryError(error) || error.kind !== 'network') return error;
	const { code, message = error.message, address = url.hostname, port = url.port } = (error.cause ?? {}) as Partial<NodeJS.ErrnoException & { address: string; port: number }>;
	const reason = code === 'ECONNREFUSED' ? `dial tcp ${address}:${port}: connect: connection refused`
		: code === 'ENOTFOUND' ? `dial tcp: lookup ${url.hostname}: no such host`
		: message;
	return new Error(`${method === 'GET' ? 'Get' : 'Head'} ${JSON.stringify(redactCredentials(url.href))}: ${reason}`, { cause: error });
}

/** Secrets go along to the host they are for and to hosts below it (Go's rule). */
function isSameSite(host: string, first: string): boolean {
	return host === first || host.endsWith(`.${first}`);
}

/** The body without the gzip that we offered to take. */
export function bodyOf(response: HttpResponse): Readable {
	if (response.headers['content-encoding'] !== 'gzip') return response.body;
	const gunzip = createGunzip();
	response.body.on('error', (error) => { gunzip.destroy(error); });
	return response.body.pipe(gunzip);
}
