// A proxy in front of a registry that counts what passes and can misbehave on demand.
import http from 'node:http';
import type { AddressInfo } from 'node:net';

export interface PassedRequest {
	readonly method: string;
	readonly url: string;
	/** As the header has it. */
	readonly range: string | undefined;
	/** Bytes of the answer's body. */
	bytes: number;
}

export interface RegistryProxy {
	/** `127.0.0.1:PORT`. */
	readonly host: string;
	/** In order of arrival; may be cleared. */
	readonly passed: PassedRequest[];
	/** Answers a request itself and returns true, or leaves it to the registry. */
	intercept: (request: http.IncomingMessage, response: http.ServerResponse) => boolean;
	/** Changes a chunk of an answer's body. */
	alter: (request: http.IncomingMessage, chunk: Buffer) => Buffer;
	close(): Promise<void>;
}

export async function startProxy(registry: string): Promise<RegistryProxy> {
	const server = http.createServer((request, response) => {
		if (proxy.intercept(request, response)) return;
		const entry: PassedRequest = { method: request.method ?? '', url: request.url ?? '', range: request.headers.range, bytes: 0 };
		proxy.passed.push(entry);
		const upstream = http.request(`http://${registry}${entry.url}`, { method: entry.method, headers: { ...request.headers, host: registry }, agent: false }, (answer) => {
			response.writeHead(answer.statusCode ?? 502, answer.headers);
			answer.on('data', (chunk: Buffer) => {
				entry.bytes += chunk.length;
				response.write(proxy.alter(request, chunk));
			});
			answer.on('end', () => response.end());
		});
		upstream.on('error', () => response.destroy());
		request.pipe(upstream);
	});
	const proxy: RegistryProxy = {
		host: '',
		passed: [],
		intercept: () => false,
		alter: (_, chunk) => chunk,
		close: () =>
			new Promise((resolve) => {
				server.close(() => resolve());
				server.closeAllConnections();
			}),
	};
	await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
	return Object.assign(proxy, { host: `127.0.0.1:${(server.address() as AddressInfo).port}` });
}
