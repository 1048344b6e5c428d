// HTTP/2, where a host offers it (ALPN): one connection for all reads of a host. Only for requests without a
// body; uploads stay on HTTP/1.1.
import { STATUS_CODES, type IncomingHttpHeaders } from 'node:http';
import type { ClientHttp2Session, ClientHttp2Stream, IncomingHttpHeaders as Http2Headers } from 'node:http2';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import { destroySession, resetAsCanceled } from '../http2/index.js';
import type { HttpRequest, HttpResponse, ResponseBody } from './transport.js';

/** Bytes a stream and a connection may have on their way: the defaults allow one 64 KiB a round trip. */
const streamWindow = 4 * 1024 * 1024;
const connectionWindow = 32 * 1024 * 1024;
/** Milliseconds before a host that offered only HTTP/1.1 is asked again. */
const askAgainAfter = 10 * 60_000;

/** How a host is spoken to. */
export type Connection =
	| { readonly session: ClientHttp2Session }
	/** HTTP/1.1; the socket that found out, when it is new. */
	| { readonly session: undefined; readonly socket?: TLSSocket };

export class Http2Hosts {
	readonly #hosts = new Map<string, { readonly connection: Promise<Connection>; readonly until: number }>();

	/** The connection to `url`'s host. `key` tells TLS configurations apart. Fails as a TLS connection does. */
	async connection(url: URL, key: string, options: ConnectionOptions, timeout: number): Promise<Connection> {
		const name = `${url.host} ${key}`;
		const known = this.#hosts.get(name);
		if (known && known.until > Date.now()) {
			const connection = await known.connection;
			if (connection.session === undefined) return { session: undefined };
			if (!connection.session.closed && !connection.session.destroyed) return connection;
			this.#hosts.delete(name);
			return this.connection(url, key, options, timeout);
		}
		const connection = connect(url, options, timeout);
		const entry = { connection, until: Infinity };
		this.#hosts.set(name, entry);
		const forget = (): void => { if (this.#hosts.get(name) === entry) this.#hosts.delete(name); };
		try {
			const made = await connection;
			made.session?.once('close', forget).once('goaway', forget);
			if (made.session === undefined) this.#hosts.set(name, { connection, until: Date.now() + askAgainAfter });
			return made;
		} catch (error) {
			forget();
			throw error;
		}
	}

	close(): void {
		for (const { connection } of this.#hosts.values()) connection.then(({ session }) => { if (session) destroySession(session); }, () => undefined);
		this.#hosts.clear();
	}
}

async function connect(url: URL, options: ConnectionOptions, timeout: number): Promise<Connection> {
	const { connect: connectTls } = await import('node:tls');
	const host = url.hostname.replace(/^\[|\]$/g, '');
	const socket = connectTls({
		...options, host, port: url.port === '' ? 443 : Number(url.port), ALPNProtocols: ['h2', 'http/1.1'],
		...(!/^[0-9.]+$|:/.test(host) && { servername: host }),
	});
	await new Promise<void>((resolve, reject) => {
		socket.setTimeout(timeout, () => { socket.destroy(Object.assign(new Error('no connection in time'), { code: 'ETIMEDOUT' })); });
		socket.once('secureConnect', resolve).once('error', reject);
	});
	socket.setTimeout(0).removeAllListeners('timeout').removeAllListeners('error');
	if (socket.alpnProtocol !== 'h2') return { session: undefined, socket };
	const { connect: connectHttp2 } = await import('node:http2');
	const session = connectHttp2(url.origin, { createConnection: () => socket, settings: { initialWindowSize: streamWindow, enablePush: false } });
	session.on('error', () => undefined); // its streams say what is wrong
	await new Promise<void>((resolve) => { session.once('connect', () => { resolve(); }).once('close', resolve); });
	if (!session.destroyed) session.setLocalWindowSize(connectionWindow);
	session.unref();
	return { session };
}

/** Sends a request without a body; resolves with the answer's head. */
export function sendHttp2(session: ClientHttp2Session, request: HttpRequest, idleTimeout: number): Promise<HttpResponse> {
	return new Promise((resolve, reject) => {
		const { url, method, signal } = request;
		const { host: _, connection: __, ...headers } = request.headers;
		const stream = session.request({ ...headers, ':method': method, ':path': `${url.pathname}${url.search}`, ':authority': url.host, ':scheme': 'https' }, { endStream: true });
		resetAsCanceled(stream);
		hold(session, stream);
		const abort = (): void => { stream.destroy(signal?.reason as Error); };
		signal?.addEventListener('abort', abort, { once: true });
		stream.once('close', () => {
			signal?.removeEventListener('abort', abort);
			reject(Object.assign(new Error('the stream was closed before an answer'), { code: 'ECONNRESET' }));
		});
		stream.setTimeout(idleTimeout, () => {
			session.close(); // perhaps dead: whoever comes next gets a new one
			stream.destroy(Object.assign(new Error('no data received in time'), { code: 'ETIMEDOUT' }));
		});
		stream.on('error', reject);
		stream.once('response', (incoming: Http2Headers) => {
			const status = Number(incoming[':status']);
			resolve({ status, statusText: STATUS_CODES[status] ?? '', headers: plainHeaders(incoming), body: bodyOf(stream), url, method });
		});
	});
}

const open = new WeakMap<ClientHttp2Session, number>();

/** The process stays alive for a connection only while something is asked over it. */
function hold(session: ClientHttp2Session, stream: ClientHttp2Stream): void {
	const count = (open.get(session) ?? 0) + 1;
	open.set(session, count);
	if (count === 1) session.ref();
	stream.once('close', () => {
		const left = (open.get(session) ?? 1) - 1;
		open.set(session, left);
		if (left === 0 && !session.destroyed) session.unref();
	});
}

function bodyOf(stream: ClientHttp2Stream): ResponseBody {
	return Object.defineProperty(stream, 'complete', { get: () => stream.readableEnded && !stream.aborted }) as ClientHttp2Stream & { readonly complete: boolean };
}

function plainHeaders(headers: Http2Headers): IncomingHttpHeaders {
	return Object.fromEntries(Object.entries(headers).filter(([name]) => !name.startsWith(':')));
}
