// Requests over one HTTP/2 connection that are given up as soon as one of them has its answer, for a test that looks how
// this process ends: node registry-give-up.js ROUNDS
import { once } from 'node:events';
import http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import { sendHttp2 } from '../../src/registry/http2.js';

// The one that was asked for first is the first to be given up, and the last to be answered.
let first: http2.Http2ServerResponse | undefined;
const server = http2.createServer((request, response) => {
	if (request.url === '/first') {
		first = response;
		return;
	}
	response.write('begun');
	if (request.url === '/last') first?.end('all of it');
});
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

for (let round = 0; round < Number(process.argv[2]); round++) {
	const session = http2.connect(origin);
	const enough = new AbortController();
	const send = (path: string): ReturnType<typeof sendHttp2> => sendHttp2(session, { url: new URL(path, origin), method: 'GET', headers: {}, signal: enough.signal }, 60_000);
	const answered = send('/first');
	const others = ['/second', '/last'].map((path) => send(path).catch((error: unknown) => error));
	const { body } = await answered;
	body.on('error', () => undefined).resume();
	await once(body, 'end');
	enough.abort(new Error('enough'));
	await Promise.all(others);
	session.close();
	await new Promise((resolve) => session.once('close', resolve));
}
server.close();
process.stdout.write('all given up\n');
