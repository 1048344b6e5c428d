// gRPC between this client and this server, over a pair of streams and over a socket.
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import http2 from 'node:http2';
import net from 'node:net';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { Code, HealthCheckRequest, HealthDefinition, Registry, RpcClient, RpcError, RpcServer, type Handlers } from '../../src/grpc/index.js';
import { ContentDefinition, ReadContentRequest, WriteContentRequest, WriteContentResponse } from '../../src/session/gen/content.js';

const health = HealthDefinition.fullName;
const content = ContentDefinition.fullName;

/** Two ends of a pipe that are no sockets, as a tunnel's. */
function pipe(): [Duplex, Duplex] {
	const make = (peer: () => Duplex): Duplex => new Duplex({
		read() { /* pushed by the peer */ },
		write(chunk: Buffer, _encoding, done) {
			peer().push(chunk);
			setImmediate(done);
		},
		writev(chunks, done) {
			// What was sent at once arrives at once.
			setImmediate(() => {
				peer().push(Buffer.concat(chunks.map(({ chunk }) => chunk as Buffer)));
				done();
			});
		},
		final(done) {
			peer().push(null);
			done();
		},
	});
	const a: Duplex = make(() => b);
	const b: Duplex = make(() => a);
	return [a, b];
}

/** Waits until a count that goes up does so no more. */
async function settled(count: () => number): Promise<void> {
	for (let before = -1; before !== count() || before === 0;) {
		before = count();
		await sleep(50);
	}
}

function connect(t: ExecutionContext, handlers: { health?: Handlers<typeof HealthDefinition>; content?: Handlers<typeof ContentDefinition> }): RpcClient {
	const server = new RpcServer().add(HealthDefinition, handlers.health ?? {}).add(ContentDefinition, handlers.content ?? {});
	const [near, far] = pipe();
	void server.serve(far);
	const client = new RpcClient(near);
	t.teardown(() => { client.close(); });
	return client;
}

// Node 20, and 22 and 24 before they were mended, broke their own heap then: nodejs/node#64113.
test('clients that hang up in the middle of what comes for them break nothing', async (t) => {
	const directory = await mkdtemp(path.join(tmpdir(), 'obd-grpc-'));
	t.teardown(() => rm(directory, { recursive: true, force: true }));
	const server = new RpcServer().add(HealthDefinition, { check: () => ({ status: 1 }) }).add(ContentDefinition, {
		read: async (_request, { signal }, send) => {
			while (!signal.aborted) await send({ offset: 0, data: Buffer.alloc(1000) });
		},
	});
	const socket = path.join(directory, 'socket');
	await server.listen({ address: { path: socket } });
	t.teardown(() => server.close(0));
	const { stdout } = await promisify(execFile)(process.execPath, [fileURLToPath(new URL('grpc-hang-up.js', import.meta.url)), socket, '200']);
	t.is(stdout, 'all hung up\n');
});

test('a unary call carries metadata there and a message back', async (t) => {
	const seen: unknown[] = [];
	const client = connect(t, { health: { check: ({ service }, { metadata }) => {
		seen.push(service, metadata.all('x-many'), metadata.get('x-one'));
		return { status: 1 };
	} } });
	const response = await client.unary(health, HealthDefinition.methods.check, HealthCheckRequest.create({ service: 'é' }), { metadata: { 'x-many': ['a, b', 'c'], 'x-one': '1' } });
	t.is(response.status, 1);
	t.deepEqual(seen, ['é', ['a, b', 'c'], '1']);
});

test('an error keeps its code, its text in any language, and its details', async (t) => {
	const client = connect(t, { health: { check: () => { throw new RpcError(Code.NOT_FOUND, 'no such thing: é 100%\n', [{ typeUrl: 'x/y', value: Buffer.alloc(60_000, 7) }]); } } });
	const error = await t.throwsAsync(client.unary(health, HealthDefinition.methods.check, HealthCheckRequest.create()), { instanceOf: RpcError });
	t.is(error?.code, Code.NOT_FOUND);
	t.is(error?.message, 'no such thing: é 100%\n');
	t.is(error?.details[0]?.value.length, 60_000);
});

test('a method nobody wrote and a service nobody has are UNIMPLEMENTED', async (t) => {
	const client = connect(t, {});
	const missing = await t.throwsAsync(client.unary(health, HealthDefinition.methods.check, HealthCheckRequest.create()), { instanceOf: RpcError });
	t.is(missing?.code, Code.UNIMPLEMENTED);
	const unknown = await t.throwsAsync(client.unary('no.Such', HealthDefinition.methods.check, HealthCheckRequest.create()), { instanceOf: RpcError, message: 'unknown service no.Such' });
	t.is(unknown?.code, Code.UNIMPLEMENTED);
});

test('a stream of large messages arrives whole, and waits for its reader', async (t) => {
	let sent = 0;
	const client = connect(t, { content: { read: async (_request, _call, send) => {
		for (let i = 0; i < 40; i++) {
			await send({ offset: i, data: Buffer.alloc(1024 * 1024, i) });
			sent++;
		}
	} } });
	const call = client.call(content, ContentDefinition.methods.read, {});
	await call.send(ReadContentRequest.create());
	call.end();
	let [next, isBehind] = [0, false];
	for await (const { offset, data } of call) {
		if (next === 0) {
			await sleep(300);
			isBehind = sent < 40;
		}
		t.is(offset, next);
		t.true(data.length === 1024 * 1024 && data[0] === next && data.at(-1) === next);
		next++;
	}
	t.is(next, 40);
	t.true(isBehind, 'the sender ran ahead of a reader that read nothing');
});

test('both sides of a bidirectional stream talk until both are done', async (t) => {
	const client = connect(t, { content: { write: async (requests, _call, send) => {
		for await (const { offset, data } of requests) await send(WriteContentResponse.create({ offset: offset * 2, total: data.length }));
	} } });
	const call = client.call(content, ContentDefinition.methods.write, {});
	const answers: number[] = [];
	const reading = (async () => { for await (const { offset } of call) answers.push(offset); })();
	for (let i = 0; i < 500; i++) await call.send(WriteContentRequest.create({ offset: i, data: Buffer.alloc(i) }));
	call.end();
	await reading;
	t.deepEqual(answers, Array.from({ length: 500 }, (_, i) => i * 2));
});

test('a deadline ends the call on both sides', async (t) => {
	let isAborted = false;
	const client = connect(t, { health: { check: async (_request, { signal }) => {
		await once(signal, 'abort');
		isAborted = true;
		return { status: 1 };
	} } });
	const error = await t.throwsAsync(client.unary(health, HealthDefinition.methods.check, HealthCheckRequest.create(), { timeout: 100 }), { instanceOf: RpcError });
	t.is(error?.code, Code.DEADLINE_EXCEEDED);
	while (!isAborted) await sleep(10);
	t.pass();
});

test('a client that cancels or vanishes aborts the handler', async (t) => {
	let running = 0;
	const client = connect(t, { health: { watch: async (_request, { signal }, send) => {
		running++;
		await send({ status: 1 });
		await once(signal, 'abort');
		running--;
	} } });
	const start = async (): Promise<{ cancel(): void }> => {
		const call = client.call(health, HealthDefinition.methods.watch, {});
		await call.send(HealthCheckRequest.create());
		call.end();
		for await (const { status } of call) {
			t.is(status, 1);
			break;
		}
		return call;
	};
	const calls = [await start(), await start()];
	t.is(running, 2);
	calls[0]?.cancel();
	while (running > 1) await sleep(5);
	client.close();
	while (running > 0) await sleep(5);
	const gone = await t.throwsAsync(client.unary(health, HealthDefinition.methods.check, HealthCheckRequest.create()), { instanceOf: RpcError });
	t.is(gone?.code, Code.UNAVAILABLE);
});

test('a call that fails early does not wait for what the client still sends', async (t) => {
	const client = connect(t, { content: { write: () => Promise.reject(new RpcError(Code.PERMISSION_DENIED, 'no')) } });
	const call = client.call(content, ContentDefinition.methods.write, {});
	const pour = (async () => { while (true) await call.send(WriteContentRequest.create({ data: Buffer.alloc(100_000) })); })();
	pour.catch(() => undefined);
	const error = await t.throwsAsync(call.only(), { instanceOf: RpcError });
	t.is(error?.code, Code.PERMISSION_DENIED);
	await t.throwsAsync(pour);
});

/** A frame of HTTP/2. */
function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
	const header = Buffer.alloc(9);
	header.writeUIntBE(payload.length, 0, 3);
	header[3] = type;
	header[4] = flags;
	header.writeUInt32BE(stream, 5);
	return Buffer.concat([header, payload]);
}

function field(name: string, value: string): Buffer {
	return Buffer.concat([Buffer.from([0, name.length]), Buffer.from(name), Buffer.from([value.length]), Buffer.from(value)]);
}

test('a call that is answered while the client has more to send than anybody takes has ended', async (t) => {
	const [near, far] = pipe();
	const client = new RpcClient(near);
	t.teardown(() => { client.close(); });
	far.write(frame(0x4, 0, 0, Buffer.alloc(0))); // settings, all defaults: a window of 64 KiB
	let received = 0;
	const isStuck = new Promise<void>((resolve) => {
		far.on('data', (chunk: Buffer) => {
			received += chunk.length;
			if (received > 65_535) resolve();
		});
	});
	const call = client.call(content, ContentDefinition.methods.write, {});
	const pour = (async () => { for (;;) await call.send(WriteContentRequest.create({ data: Buffer.alloc(50_000) })); })();
	pour.catch(() => undefined);
	await isStuck;
	// The answer and the end of the stream arrive at once, as gRPC for Go sends them.
	const answer = Buffer.concat([Buffer.from([0x88]), field('content-type', 'application/grpc'), field('grpc-status', '6'), field('grpc-message', 'it is there')]);
	far.write(Buffer.concat([frame(0x1, 0x5, 1, answer), frame(0x3, 0, 1, Buffer.alloc(4))]));
	const error = await t.throwsAsync(call.only(), { instanceOf: RpcError, message: 'it is there' });
	t.is(error?.code, Code.ALREADY_EXISTS);
	await t.throwsAsync(pour);
});

test('a client that gives up what it does not read, without calling it an error, aborts the handler', async (t) => {
	let blocked = 0;
	let ended: () => void;
	const isOver = new Promise<void>((resolve) => { ended = resolve; });
	const [near, far] = pipe();
	void new RpcServer().add(ContentDefinition, { write: async (_requests, { signal }, send) => {
		signal.addEventListener('abort', () => { ended(); });
		for (;;) {
			blocked++;
			await send(WriteContentResponse.create({ offset: 1 }));
		}
	} }).serve(far);
	const client = http2.connect('http://localhost', { createConnection: () => near });
	t.teardown(() => { client.destroy(); });
	const stream = client.request({ ':method': 'POST', ':path': `/${content}/Write`, 'content-type': 'application/grpc' }, { endStream: false });
	stream.on('error', () => undefined);
	stream.write(Buffer.from([0, 0, 0, 0, 0]));
	await settled(() => blocked);
	stream.close(http2.constants.NGHTTP2_NO_ERROR);
	await isOver;
	t.pass();
});

test('rubbish on one connection is answered or ended; the others go on', async (t) => {
	const directory = await mkdtemp(path.join(tmpdir(), 'obd-grpc-'));
	const server = new RpcServer().add(HealthDefinition, { check: () => ({ status: 1 }) });
	const socketPath = path.join(directory, 'sock');
	await server.listen({ address: { path: socketPath } });
	t.teardown(async () => {
		await server.close(1000);
		await rm(directory, { recursive: true });
	});
	const noise = net.connect(socketPath);
	noise.on('error', () => undefined);
	noise.end('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
	await once(noise.resume(), 'close');

	const client = new RpcClient(net.connect(socketPath));
	const malformed = { ...HealthDefinition.methods.check, requestType: { ...HealthCheckRequest, encode: () => ({ finish: () => Buffer.from([0x0a, 0xff, 0x01]) }) } };
	const error = await t.throwsAsync(client.unary(health, malformed, HealthCheckRequest.create()), { instanceOf: RpcError });
	t.is(error?.code, Code.INTERNAL);
	const huge = { ...HealthDefinition.methods.check, requestType: { ...HealthCheckRequest, encode: () => ({ finish: () => Buffer.alloc(17 * 1024 * 1024) }) } };
	const tooLarge = await t.throwsAsync(client.unary(health, huge, HealthCheckRequest.create()), { instanceOf: RpcError });
	t.is(tooLarge?.code, Code.RESOURCE_EXHAUSTED);
	t.is((await client.unary(health, HealthDefinition.methods.check, HealthCheckRequest.create())).status, 1);
	client.close();
});

test('who waits for what never comes is told so in time, whatever was collected meanwhile', async (t) => {
	setFlagsFromString('--expose-gc');
	const collect = runInNewContext('gc') as () => void;
	const registry = new Registry<number>();
	const waiting = registry.wait('never', new AbortController().signal, 100);
	const collecting = setInterval(collect, 10);
	t.is(await waiting, undefined);
	clearInterval(collecting);
	const late = registry.wait('late', new AbortController().signal, 10_000);
	registry.add('late', 1);
	t.is(await late, 1);
});
