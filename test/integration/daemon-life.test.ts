// obd-buildd over time: many clients at once, a device server that dies, an end with clients attached, a next start.
import { randomUUID } from 'node:crypto';
import anyTest, { type ExecutionContext, type TestFn } from 'ava';
import { CacheOptions, ControlDefinition, PruneRequest, SolveRequest } from '../../src/control/gen/control.js';
import { MatchType, Policy, PolicyAction } from '../../src/gateway/index.js';
import { Code, RpcError, RpcServer, type RpcClient } from '../../src/grpc/index.js';
import { fileActions, image, local, marshal, scratch, type Definition } from '../../src/llb/index.js';
import { FileSyncDefinition } from '../../src/session/gen/filesync.js';
import { Stat } from '../../src/session/gen/stat.js';
import { Packet, Packet_PacketType as PacketType } from '../../src/session/gen/wire.js';
import { Tunnel } from '../../src/session/index.js';
import { deviceServers, leftoversOf, processesOf } from './helpers/build-leftovers.js';
import { nothingLeft, setUpBuilds, type BuildContext } from './helpers/build-fixture.js';
import { startDaemon, type TestDaemon } from './helpers/daemon.js';
import { until } from './helpers/device.js';

const test = anyTest as TestFn<BuildContext>;
setUpBuilds(test);

const control = ControlDefinition.fullName;
const { methods } = ControlDefinition;

function solve(client: RpcClient, request: Partial<SolveRequest>): Promise<unknown> {
	return client.unary(control, methods.solve, SolveRequest.create({ Ref: randomUUID(), ...request }));
}

/** A session that lends one file, `name`, with `content`. Resolves to its id. */
function lendFile(client: RpcClient, name: string, content: string): string {
	const id = randomUUID();
	const call = client.call(control, methods.session, { metadata: { 'x-docker-expose-session-uuid': id, 'x-docker-expose-session-grpc-method': ['/moby.filesync.v1.FileSync/DiffCopy'] } });
	const server = new RpcServer().add(FileSyncDefinition, {
		diffCopy: async (requests, _call, send) => {
			await send(Packet.create({ type: PacketType.PACKET_STAT, stat: Stat.create({ path: name, mode: 0o644, size: Buffer.byteLength(content), modTime: 1_600_000_000_000_000_000n }) }));
			await send(Packet.create({ type: PacketType.PACKET_STAT }));
			for await (const { type, ID } of requests) {
				if (type === PacketType.PACKET_REQ) {
					await send(Packet.create({ type: PacketType.PACKET_DATA, ID, data: Buffer.from(content) }));
					await send(Packet.create({ type: PacketType.PACKET_DATA, ID }));
				} else {
					if (type === PacketType.PACKET_FIN) await send(Packet.create({ type: PacketType.PACKET_FIN }));
					return;
				}
			}
		},
	});
	void server.serve(new Tunnel(call, (message) => call.send(message), () => { call.end(); }));
	return id;
}

function copyOf(sessionId: string): Definition {
	return marshal(scratch().file(fileActions().copy(local('context', { sessionId }), '/', '/', { copyDirContentsOnly: true })));
}

/** A step that has not been there before. */
function run(base: string, command: string): Definition {
	return marshal(image(base).run({ args: ['sh', '-c', command] }).root);
}

async function pruneAll(client: RpcClient): Promise<AsyncIterable<unknown>> {
	const call = client.call(control, methods.prune, {});
	await call.send(PruneRequest.create({ all: true }));
	call.end();
	return call;
}

async function stopped(t: ExecutionContext<BuildContext>, daemon: TestDaemon): Promise<void> {
	t.is((await daemon.stop()).code, 0);
	await nothingLeft(t, t.context.store);
}

test.serial('a source policy denies, and puts other sources in place', async (t) => {
	const { store, base, registry } = t.context;
	const daemon = await startDaemon(store);
	const client = daemon.connect();
	const policy = (action: PolicyAction, identifier: string, to = ''): Partial<SolveRequest> => ({
		SourcePolicy: Policy.create({ version: 1, rules: [{ action, selector: { identifier, matchType: MatchType.WILDCARD }, ...(to !== '' && { updates: { identifier: to } }) }] }),
	});
	const wanted = run(`${registry.host}/none:1`, 'echo policy >/file');
	await t.throwsAsync(solve(client, { Definition: wanted }), { message: /none:1/ });
	await t.notThrowsAsync(solve(client, { Definition: wanted, ...policy(PolicyAction.CONVERT, `docker-image://${registry.host}/none:*`, `docker-image://${base}:latest`) }));
	await t.throwsAsync(solve(client, { Definition: run(base, 'true'), ...policy(PolicyAction.DENY, `docker-image://${registry.host}/*`) }), { message: /source "docker-image:\/\/.*\/base:latest" denied by policy/ });
	client.close();
	await stopped(t, daemon);
});

test.serial('a source policy puts a directory of the client in the place of a named image', async (t) => {
	const { store, registry } = t.context;
	const daemon = await startDaemon(store);
	const client = daemon.connect();
	const Session = lendFile(client, 'Dockerfile', 'FROM scratch AS other\nFROM scratch\nCOPY --from=other /Dockerfile /\n');
	const request = { Session, Frontend: 'dockerfile.v0', FrontendAttrs: new Map([['context:other', `docker-image://${registry.host}/none:1`]]) };
	await t.throwsAsync(solve(client, request), { message: /none:1/ });
	const rule = { action: PolicyAction.CONVERT, selector: { identifier: `docker-image://${registry.host}/none:1` }, updates: { identifier: 'local://lent' } };
	await t.notThrowsAsync(solve(client, { ...request, SourcePolicy: Policy.create({ version: 1, rules: [rule] }) }));
	client.close();
	await stopped(t, daemon);
});

test.serial('a cache is named to the frontend as older clients do: by cache-from', async (t) => {
	const { store, base, registry } = t.context;
	const daemon = await startDaemon(store);
	const client = daemon.connect();
	const ref = `${registry.host}/cache-from:1`;
	const Session = lendFile(client, 'Dockerfile', `FROM ${base}\nRUN cat /proc/sys/kernel/random/uuid > /id\n`);
	const request = { Session, Frontend: 'dockerfile.v0' };
	await solve(client, { ...request, Cache: CacheOptions.create({ Exports: [{ Type: 'registry', Attrs: new Map([['ref', ref]]) }] }) });
	const ranWith = async (cacheFrom: string): Promise<boolean> => {
		const Ref = randomUUID();
		for await (const _ of await pruneAll(client)) { /* until it is done */ }
		await solve(client, { ...request, Ref, FrontendAttrs: new Map([['cache-from', cacheFrom]]) });
		const status = client.call(control, methods.status, {});
		await status.send({ Ref });
		status.end();
		let cached = false;
		for await (const { vertexes } of status) cached ||= vertexes.some((vertex) => vertex.name.includes('RUN cat') && vertex.cached);
		return !cached;
	};
	t.true(await ranWith(''));
	t.false(await ranWith(ref));
	client.close();
	await stopped(t, daemon);
});

test.serial('two hundred sessions at once: each is served, none leaves anything', async (t) => {
	const { store } = t.context;
	const daemon = await startDaemon(store);
	const clients = Array.from({ length: 8 }, () => daemon.connect());
	const results = await Promise.all(Array.from({ length: 200 }, async (_, i) => {
		const client = clients[i % clients.length];
		if (!client) throw new Error('no client');
		// Every tenth sends what nobody else does; of the others a few share theirs.
		const id = lendFile(client, 'file', i % 10 === 0 ? `own ${i}` : `shared ${i % 4}`);
		await solve(client, { Session: id, Definition: copyOf(id) });
		return id;
	}));
	t.is(new Set(results).size, 200);
	for (const client of clients) client.close();
	const last = daemon.connect();
	const usage = await last.unary(control, methods.diskUsage, { filter: [], ageLimit: 0n });
	t.is(usage.record.filter(({ Description }) => Description.startsWith('copy')).length, 24);
	last.close();
	await stopped(t, daemon);
});

test.serial('device servers that die again and again cost the builds that stood on them, and no later one', async (t) => {
	const { store, base } = t.context;
	const daemon = await startDaemon(store);
	const client = daemon.connect();
	for (let i = 0; i < 7; i++) {
		await t.notThrowsAsync(solve(client, { Definition: run(base, `echo ${i} >/file`) }), `build ${i}`);
		for (const pid of await deviceServers(store)) process.kill(pid, 'SIGKILL');
		await until(async () => (await deviceServers(store)).length === 0);
	}
	const endless = `while true; do echo ${randomUUID()} >>/file; sleep 0.05; done`;
	const running = t.throwsAsync(solve(client, { Definition: run(base, endless) }), { instanceOf: RpcError });
	// A server that dies before the step has begun costs nothing.
	await until(async () => (await processesOf(`sh -c ${endless}`)).length > 0);
	for (const pid of await deviceServers(store)) process.kill(pid, 'SIGKILL');
	const error = await running;
	t.regex(error?.message ?? '', /device server|Input\/output error|I\/O error|EIO|exit code/);
	await t.notThrowsAsync(solve(client, { Definition: run(base, 'echo again >/file') }));
	client.close();
	await stopped(t, daemon);
});

test.serial('a daemon that ends with clients attached tells them so, and the next one starts clean', async (t) => {
	const { store, base } = t.context;
	const daemon = await startDaemon(store);
	const client = daemon.connect();
	const call = client.call(control, methods.listenBuildHistory, {});
	await call.send({ ActiveOnly: false, Ref: '', EarlyExit: false, Filter: [], Limit: 0 });
	call.end();
	const listening = (async () => { for await (const event of call) void event; })();
	const building = t.throwsAsync(solve(client, { Definition: run(base, 'sleep 1000') }), { instanceOf: RpcError });
	const attached = t.throwsAsync(listening, { instanceOf: RpcError });
	await until(async () => (await deviceServers(store)).length === 1);
	t.is((await daemon.stop()).code, 0);
	for (const error of [await building, await attached]) t.true([Code.UNAVAILABLE, Code.CANCELED].includes(error?.code ?? Code.OK), `${error?.code}: ${error?.message}`);
	t.deepEqual(await leftoversOf(store), []);

	const next = await startDaemon(store);
	const other = next.connect();
	await t.notThrowsAsync(solve(other, { Definition: run(base, 'echo next >/file') }));
	other.close();
	// A machine that loses its power tells nobody.
	next.program.kill('SIGKILL');
	await next.program.ended;
	const last = await startDaemon(store);
	const third = last.connect();
	await t.notThrowsAsync(solve(third, { Definition: run(base, 'echo next >/file') }));
	third.close();
	await stopped(t, last);
});
