// A web server of files, for tests: counts what it is asked, and knows ETags, redirects and logins.
import http from 'node:http';
import type { AddressInfo } from 'node:net';

export interface WebFile {
	readonly body?: string | Buffer;
	readonly status?: number;
	readonly headers?: Readonly<Record<string, string>>;
	/** The Authorization header it wants. */
	readonly authorization?: string;
}

export interface WebServer {
	/** `http://127.0.0.1:PORT`. */
	readonly url: string;
	/** By path; may be changed at any time. */
	readonly files: Map<string, WebFile>;
	/** `METHOD /path` of the requests so far, with the headers they had. */
	readonly requests: { readonly line: string; readonly headers: http.IncomingHttpHeaders }[];
	stop(): Promise<void>;
}

export async function startWebServer(): Promise<WebServer> {
	const files = new Map<string, WebFile>();
	const requests: WebServer['requests'] = [];
	const server = http.createServer((request, response) => {
		requests.push({ line: `${request.method} ${request.url}`, headers: request.headers });
		const file = files.get(request.url ?? '');
		if (!file) return void response.writeHead(404).end();
		if (file.authorization !== undefined && request.headers.authorization !== file.authorization) return void response.writeHead(401).end();
		const etag = file.headers?.['etag'];
		if (etag !== undefined && request.headers['if-none-match']?.split(', ').includes(etag)) return void response.writeHead(304, { etag }).end();
		response.writeHead(file.status ?? 200, file.headers);
		response.end(request.method === 'HEAD' ? undefined : file.body);
	});
	await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
	return {
		url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
		files,
		requests,
		stop: async () => {
			server.closeAllConnections();
			await new Promise((resolve) => { server.close(resolve); });
		},
	};
}
