// gRPC's server: over sockets it listens on, or over any duplex stream.
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import http2, { performServerHandshake, type Http2Server, type Http2SecureServer, type IncomingHttpHeaders, type SecureServerOptions, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { destroySession } from '../http2/index.js';
import { MessageReader, onlyMessage, writeMessage } from './framing.js';
import { parseTimeout, serverOptions, widenWindow } from './http2.js';
import { Metadata, toHeaders, type OutgoingMetadata } from './metadata.js';
import type { Handlers, Method, Send, ServerCall, Service } from './service.js';
import { Code, RpcError, statusTrailers, toRpcError } from './status.js';

type AnyMethod = Method<unknown, unknown>;
type AnyHandler = (request: unknown, call: ServerCall, send: Send<unknown>) => unknown;

interface Route {
	readonly method: AnyMethod;
	readonly handler: AnyHandler | undefined;
}

export interface ListenOptions {
	/** A unix socket, or a host and a port. */
	readonly address: { readonly path: string } | { readonly host: string; readonly port: number };
	readonly tls?: Pick<SecureServerOptions, 'key' | 'cert' | 'ca' | 'requestCert' | 'rejectUnauthorized' | 'minVersion'>;
}

export class RpcServer {
	readonly #routes = new Map<string, Route>();
	readonly #servers: (Http2Server | Http2SecureServer)[] = [];
	readonly #sessions = new Set<ServerHttp2Session>();
	readonly #sockets = new Set<Socket>();
	#calls = 0;
	#closing = false;

	/** What went wrong that no caller hears of. */
	constructor(private readonly onError: (error: Error) => void = () => undefined) {}

	/** Adds a service. Methods without a handler answer UNIMPLEMENTED. */
	add<S extends Service>(service: S, handlers: Handlers<S>): this {
		for (const [key, method] of Object.entries(service.methods)) {
			const handler = handlers[key as keyof typeof handlers] as AnyHandler | undefined;
			this.#routes.set(`/${service.fullName}/${method.name}`, { method: method as unknown as AnyMethod, handler });
		}
		return this;
	}

	/** Starts listening; resolves to the address as it came out (a port that was 0). */
	async listen({ address, tls }: ListenOptions): Promise<{ readonly port: number | undefined }> {
		const server = tls ? http2.createSecureServer({ ...serverOptions(), ...tls, allowHTTP1: false }) : http2.createServer(serverOptions());
		server.on('connection', (socket: Socket) => {
			this.#sockets.add(socket);
			socket.once('close', () => { this.#sockets.delete(socket); });
		});
		server.on('session', (session: ServerHttp2Session) => { this.#adopt(session); });
		server.on('sessionError', (error: Error) => { this.onError(error); });
		if ('path' in address) await rm(address.path, { force: true });
		server.listen(address);
		await once(server, 'listening');
		server.on('error', (error: Error) => { this.onError(error); });
		this.#servers.push(server);
		const bound = server.address();
		return { port: typeof bound === 'object' ? bound?.port : undefined };
	}

	/** Serves one connection; resolves when it has ended. */
	async serve(duplex: Duplex): Promise<void> {
		const session = performServerHandshake(duplex, serverOptions());
		this.#adopt(session);
		duplex.once('close', () => { destroySession(session); });
		if (!session.destroyed) await new Promise<void>((resolve) => { session.once('close', () => { resolve(); }); });
	}

	/** Calls being answered. */
	get calls(): number {
		return this.#calls;
	}

	/** Takes no new connections and calls, waits for running ones at most `patience` milliseconds, then ends them. */
	async close(patience: number): Promise<void> {
		this.#closing = true;
		const closed = this.#servers.map((server) => new Promise<void>((resolve) => { server.close(() => { resolve(); }); }));
		const sessions = [...this.#sessions].map(closeSession);
		const timer = setTimeout(() => {
			for (const session of this.#sessions) session.destroy(); // a timer is no part of what is received
			// A session that was being closed would wait for its peer to hang up.
			for (const socket of this.#sockets) socket.destroy();
		}, patience);
		await Promise.all([...closed, ...sessions]);
		clearTimeout(timer);
	}

	#adopt(session: ServerHttp2Session): void {
		if (this.#closing) {
			destroySession(session);
			return;
		}
		this.#sessions.add(session);
		widenWindow(session);
		session.once('close', () => { this.#sessions.delete(session); });
		session.on('error', (error: Error) => { this.onError(error); });
		session.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, _flags: number, raw: string[]) => {
			stream.on('error', () => undefined); // seen as the end of the stream
			void this.#call(stream, headers, raw);
		});
	}

	async #call(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, raw: readonly string[]): Promise<void> {
		if (headers[':method'] !== 'POST' || !headers['content-type']?.startsWith('application/grpc')) {
			stream.respond({ ':status': 415 }, { endStream: true });
			return;
		}
		const path = headers[':path'] ?? '';
		const route = this.#routes.get(path);
		const call = new Call(stream, new Metadata(raw), route?.method);
		this.#calls++;
		try {
			if (!route) throw unknownMethod(path, this.#routes);
			if (!route.handler) throw new RpcError(Code.UNIMPLEMENTED, `method ${route.method.name} not implemented`);
			call.finish(undefined, await call.run(route.method, route.handler));
		} catch (error) {
			call.finish(toRpcError(error));
		} finally {
			this.#calls--;
		}
	}
}

/** Closes a session once its streams have ended. Newer Nodes' servers have begun that already, and `close` calls back but once. */
function closeSession(session: ServerHttp2Session): Promise<void> {
	if (session.destroyed) return Promise.resolve();
	return new Promise((resolve) => {
		session.once('close', () => { resolve(); });
		session.close();
	});
}

function unknownMethod(path: string, routes: ReadonlyMap<string, Route>): RpcError {
	const [, service = '', method = ''] = path.split('/');
	const isKnown = [...routes.keys()].some((route) => route.startsWith(`/${service}/`));
	return new RpcError(Code.UNIMPLEMENTED, isKnown ? `unknown method ${method} for service ${service}` : `unknown service ${service}`);
}

/** One call on its stream. */
class Call implements ServerCall {
	readonly #abort = new AbortController();
	readonly #requests: MessageReader<unknown>;
	readonly #deadline: NodeJS.Timeout | undefined;
	#initial: OutgoingMetadata = {};
	#responded = false;
	#finished = false;

	constructor(private readonly stream: ServerHttp2Stream, readonly metadata: Metadata, private readonly method: AnyMethod | undefined) {
		this.#requests = new MessageReader(stream, method?.requestType ?? { encode: () => ({ finish: () => Buffer.alloc(0) }), decode: () => undefined });
		stream.once('end', () => { this.#requests.finish(stream.aborted ? canceled() : undefined); });
		stream.once('close', () => {
			clearTimeout(this.#deadline);
			this.#requests.finish(canceled());
			if (!this.#finished) this.#abort.abort(canceled());
		});
		const timeout = parseTimeout(metadata.get('grpc-timeout'));
		if (timeout !== undefined) this.#deadline = setTimeout(() => { this.#expire(); }, timeout);
	}

	get signal(): AbortSignal {
		return this.#abort.signal;
	}

	sendMetadata(metadata: OutgoingMetadata): void {
		if (this.#responded) throw new Error('the response has begun');
		this.#initial = metadata;
		this.#respond();
	}

	/** The response of a method that has one, undefined for a stream. */
	async run(method: AnyMethod, handler: AnyHandler): Promise<unknown> {
		const request = method.requestStream ? this.#requests : await onlyMessage(this.#requests);
		const send: Send<unknown> = (message) => {
			if (this.#finished) return Promise.reject(canceled());
			this.#respond();
			return writeMessage(this.stream, method.responseType, message);
		};
		const response = await handler(request, this, send);
		return method.responseStream ? undefined : response;
	}

	finish(error: RpcError | undefined, response?: unknown): void {
		if (this.#finished) return;
		this.#finished = true;
		clearTimeout(this.#deadline);
		const { stream } = this;
		if (stream.destroyed || stream.closed) return;
		// What the client still sends is of no interest. No reset says so: it would overtake the answer where the
		// connection is busy, and clients end the call by themselves when they have that.
		void this.#requests.return();
		if (!this.#responded && error) {
			stream.respond({ ...responseHeaders, ...statusTrailers(error) }, { endStream: true });
		} else {
			this.#respond();
			stream.once('wantTrailers', () => { stream.sendTrailers(statusTrailers(error)); });
			if (response !== undefined && this.method) void writeMessage(stream, this.method.responseType, response).catch(() => undefined);
			stream.end();
		}
	}

	#respond(): void {
		if (this.#responded || this.stream.destroyed || this.stream.closed) return;
		this.#responded = true;
		this.stream.respond({ ...responseHeaders, ...toHeaders(this.#initial) }, { waitForTrailers: true });
	}

	#expire(): void {
		const error = new RpcError(Code.DEADLINE_EXCEEDED, 'context deadline exceeded');
		this.finish(error);
		this.#abort.abort(error);
	}
}

const responseHeaders = { ':status': 200, 'content-type': 'application/grpc' };

function canceled(): RpcError {
	return new RpcError(Code.CANCELED, 'context canceled');
}
