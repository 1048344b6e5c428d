// An HTTP server between client and registry that passes requests on, or does to them what a test wants.
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Called for each request; returns true when it has answered (or killed) it itself. */
export type Fault = (request: IncomingMessage, response: ServerResponse, count: number) => boolean | void;

export interface SeenRequest {
	readonly method: string;
	readonly url: string;
	readonly headers: http.IncomingHttpHeaders;
}

export interface FaultProxy {
	/** `127.0.0.1:PORT`. */
	readonly host: string;
	/** What came in, in order. */
	readonly requests: SeenRequest[];
	/** Changes what is done to requests from now on. */
	fault: Fault;
	/** Changes a passed-on answer's head before it goes out. */
	rewrite: (headers: http.IncomingHttpHeaders, request: IncomingMessage) => http.IncomingHttpHeaders;
	/** Closes every connection, and refuses new ones. */
	stop(): Promise<void>;
	/** Takes connections again, at the same address. */
	listen(): Promise<void>;
}

/** Starts a proxy in front of `upstream` (`host:port`); without one, every request must be answered by the fault. */
export async function startFaultProxy(upstream?: string): Promise<FaultProxy> {
	const proxy: { fault: Fault; rewrite: FaultProxy['rewrite']; requests: SeenRequest[] } = { fault: () => false, rewrite: (headers) => headers, requests: [] };
	const server = http.createServer((request, response) => {
		const seen = { method: request.method ?? '', url: request.url ?? '', headers: request.headers };
		const count = proxy.requests.filter(({ method, url }) => method === seen.method && url === seen.url).length;
		proxy.requests.push(seen);
		if (proxy.fault(request, response, count) === true) return;
		if (upstream === undefined) response.writeHead(404).end();
		else passOn(upstream, request, response, (headers) => proxy.rewrite(headers, request));
	});
	await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
	const { port } = server.address() as AddressInfo;
	return Object.assign(proxy, {
		host: `127.0.0.1:${port}`,
		listen: () => new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve)),
		stop: () => new Promise<void>((resolve) => {
			server.close(() => resolve());
			server.closeAllConnections();
		}),
	});
}

function passOn(upstream: string, request: IncomingMessage, response: ServerResponse, rewrite: (headers: http.IncomingHttpHeaders) => http.IncomingHttpHeaders): void {
	const [host, port] = upstream.split(':');
	// The Host header stays as it came: the registry builds upload locations from it, and they must lead here.
	const outgoing = http.request({ host, port, method: request.method, path: request.url, headers: request.headers, agent: false }, (incoming) => {
		const { connection: _, ...headers } = incoming.headers;
		response.writeHead(incoming.statusCode ?? 500, rewrite(headers));
		incoming.pipe(response);
		response.on('close', () => incoming.destroy());
	});
	outgoing.on('error', () => response.destroy());
	request.pipe(outgoing);
}

/** Answers with a status, headers and a body. */
export function answer(response: ServerResponse, status: number, headers: http.OutgoingHttpHeaders = {}, body: string | Buffer = ''): true {
	response.writeHead(status, headers).end(body);
	return true;
}

/** Sends the head and the first bytes of a body, then cuts the connection. */
export function cut(response: ServerResponse, status: number, headers: http.OutgoingHttpHeaders, body: Buffer, bytes: number): true {
	response.writeHead(status, headers);
	response.write(body.subarray(0, bytes), () => response.destroy());
	return true;
}
