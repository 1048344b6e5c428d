// What a registry, and the way to it, can do wrong with a lazy read; each once and for ever.
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import { answer, type Fault } from './fault-proxy.js';

export interface LazyFault {
	readonly name: string;
	/** For a registry at `upstream`. It misbehaves towards blob reads that `isHit` says yes to. */
	readonly fault: (upstream: string, isHit: () => boolean) => Fault;
	/** What the error says when it stays; absent where the bytes come anyway. */
	readonly lasting?: RegExp;
}

interface Answer {
	readonly status: number;
	readonly headers: http.IncomingHttpHeaders;
	readonly body: Buffer;
}

/** What the registry says to a request. */
function ask(upstream: string, { url, headers }: IncomingMessage, without: readonly string[] = []): Promise<Answer> {
	const kept = Object.fromEntries(Object.entries(headers).filter(([name]) => !without.includes(name)));
	return new Promise((resolve, reject) => {
		http.get(`http://${upstream}${url?.replace('/storage/', '/v2/').replace(/\?.*/, '')}`, { headers: kept, agent: false }, (incoming) => {
			const chunks: Buffer[] = [];
			incoming.on('data', (chunk: Buffer) => chunks.push(chunk)).on('error', reject);
			incoming.on('end', () => { resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, body: Buffer.concat(chunks) }); });
		}).on('error', reject);
	});
}

/** A fault that does something to the registry's answer. */
function altering(change: (answer: Answer, response: ServerResponse) => void, without: readonly string[] = []): LazyFault['fault'] {
	return (upstream, isHit) => (request, response) => {
		if (!isBlobRead(request) || !isHit()) return false;
		ask(upstream, request, without).then((real) => { change(real, response); }, () => response.destroy());
		return true;
	};
}

function isBlobRead({ method, url }: IncomingMessage): boolean {
	return method === 'GET' && url?.includes('/blobs/sha256:') === true;
}

function status(code: number, headers: http.OutgoingHttpHeaders = {}): LazyFault {
	return {
		name: `status ${code}`,
		fault: (_, isHit) => (request, response) => isBlobRead(request) && isHit() && answer(response, code, headers, '{"errors":[{"code":"FAULT","message":"made by the test"}]}'),
		lasting: code === 404 ? /not found/ : new RegExp(`${code}`),
	};
}

export const lazyFaults: readonly LazyFault[] = [
	{ name: 'a delay', fault: altering(({ status, headers, body }, response) => { setTimeout(() => { response.writeHead(status, headers).end(body); }, 200); }) },
	{
		name: 'a connection cut in the middle',
		fault: altering(({ status, headers, body }, response) => { response.writeHead(status, headers).write(body.subarray(0, body.length >> 1), () => response.destroy()); }),
		lasting: /GET .*(socket hang up|aborted|the answer ended)/,
	},
	{
		name: 'a connection cut at once',
		fault: (_, isHit) => (request) => {
			if (!isBlobRead(request) || !isHit()) return false;
			request.socket.destroy();
			return true;
		},
		lasting: /failed to do request: GET .*(socket hang up|ECONNRESET)/,
	},
	{
		name: 'a short read',
		fault: altering(({ status, headers, body }, response) => {
			const [, first = '0', total = ''] = /bytes (\d+)-\d+\/(\d+)/.exec(headers['content-range'] ?? '') ?? [];
			const half = body.subarray(0, Math.ceil(body.length / 2));
			response.writeHead(status, { ...headers, 'content-length': half.length, 'content-range': `bytes ${first}-${Number(first) + half.length - 1}/${total}` }).end(half);
		}),
		lasting: /the answer ended at byte/,
	},
	{
		name: 'wrong bytes',
		fault: altering(({ status, headers, body }, response) => {
			for (let i = 1000; i < body.length; i += 3000) body[i] = (body[i] ?? 0) ^ 0x10;
			response.writeHead(status, headers).end(body);
		}),
		lasting: /the registry sends damaged content: block \d+ does not match its checksum/,
	},
	{
		name: 'zeros instead of bytes',
		fault: altering(({ status, headers, body }, response) => { response.writeHead(status, headers).end(Buffer.alloc(body.length)); }),
		lasting: /the registry sends damaged content: block \d+ does not match its checksum/,
	},
	{
		name: 'another range',
		fault: altering(({ status, headers, body }, response) => { response.writeHead(status, { ...headers, 'content-range': 'bytes 1-2/3' }).end(body); }),
		lasting: /got Content-Range "bytes 1-2\/3"/,
	},
	{ name: 'the whole blob instead of a range', fault: altering(({ status, headers, body }, response) => { response.writeHead(status, headers).end(body); }, ['range']) },
	status(401), status(403), status(404), status(416), status(429, { 'retry-after': '0' }), status(500), status(503),
	{
		name: 'a redirect that expires',
		fault: (upstream, isHit) => {
			let signature = 0;
			let uses = 0;
			return (request, response) => {
				if (request.url?.startsWith('/storage/') === true) {
					// Each signature is good for two reads.
					if (!request.url.endsWith(`?signature=${signature}`) || ++uses > 2) return answer(response, 403, {}, '<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>');
					ask(upstream, request).then((real) => response.writeHead(real.status, real.headers).end(real.body), () => response.destroy());
					return true;
				}
				if (!isBlobRead(request) || !isHit()) return false;
				uses = 0;
				return answer(response, 307, { location: `http://${request.headers.host}${request.url?.replace('/v2/', '/storage/')}?signature=${++signature}` });
			};
		},
	},
	{
		name: 'a slow trickle',
		fault: altering(({ status, headers, body }, response) => {
			response.writeHead(status, headers);
			let sent = 0;
			const timer = setInterval(() => response.write(body.subarray(sent, ++sent)), 50);
			response.on('close', () => { clearInterval(timer); });
		}),
		lasting: /GET .*out of time/,
	},
	{ name: 'no answer', fault: (_, isHit) => (request) => isBlobRead(request) && isHit(), lasting: /GET .*(out of time|no data received in time)/ },
];
