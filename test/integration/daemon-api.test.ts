// BuildKit's API of obd-buildd as programs see it: clients that do odd or hostile things, certificates, the history.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { randomUUID } from 'node:crypto';
import { lstat, readdir, writeFile } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import tls from 'node:tls';
import anyTest, { type TestFn } from 'ava';
import { BuildHistoryEvent, BuildHistoryEventType, BuildHistoryRequest, ControlDefinition, SolveRequest, StatusResponse } from '../../src/control/gen/control.js';
import { LLBBridgeDefinition, NewContainerRequest, ReadFileRequest, ReturnRequest, SolveRequest as GatewaySolveRequest } from '../../src/gateway/gen/gateway.js';
import { Code, HealthCheckRequest, HealthCheckResponse_ServingStatus as ServingStatus, HealthDefinition, RpcClient, RpcError, RpcServer, type Handlers } from '../../src/grpc/index.js';
import { digestOf, fileActions, image, local, marshal, Op, pb, scratch, type Definition, type FileActions, type State } from '../../src/llb/index.js';
import { FileSyncDefinition } from '../../src/session/gen/filesync.js';
import { Stat } from '../../src/session/gen/stat.js';
import { Packet, Packet_PacketType as PacketType } from '../../src/session/gen/wire.js';
import { Tunnel } from '../../src/session/index.js';
import { nothingLeft, setUpBuilds, type BuildContext } from './helpers/build-fixture.js';
import { startDaemon, type TestDaemon } from './helpers/daemon.js';
import { runObdBuildd } from './helpers/obd.js';
import { makeCertificate } from './helpers/registry.js';

const test = anyTest as TestFn<BuildContext & { daemon: TestDaemon }>;
setUpBuilds(test as unknown as TestFn<BuildContext>);

test.serial.before(async (t) => { t.context.daemon = await startDaemon(t.context.store); });
test.after.always((t) => t.context.daemon?.stop());

/** errdefs.Solve, as JSON has it. */
interface FailedStep {
	readonly inputIDs?: readonly string[];
	readonly mountIDs?: readonly string[];
	readonly file?: { readonly index: string };
	readonly cache?: { readonly index: string };
	readonly op?: { readonly file?: { readonly actions?: readonly { readonly mkfile?: { readonly path: string } }[] } };
}

const control = ControlDefinition.fullName;
const { methods } = ControlDefinition;

function solve(client: RpcClient, request: Partial<SolveRequest>): Promise<unknown> {
	return client.unary(control, methods.solve, SolveRequest.create({ Ref: randomUUID(), ...request }));
}

/** A session that lends files as `diffCopy` sends them. Resolves to its id. */
async function lend(client: RpcClient, diffCopy: NonNullable<Handlers<typeof FileSyncDefinition>['diffCopy']>): Promise<string> {
	const id = randomUUID();
	const call = client.call(control, methods.session, { metadata: { 'x-docker-expose-session-uuid': id, 'x-docker-expose-session-grpc-method': ['/moby.filesync.v1.FileSync/DiffCopy'] } });
	void new RpcServer().add(FileSyncDefinition, { diffCopy }).serve(new Tunnel(call, (message) => call.send(message), () => { call.end(); }));
	return id;
}

const file = (name: string, more: Partial<Stat> = {}): Packet => Packet.create({ type: PacketType.PACKET_STAT, stat: Stat.create({ path: name, mode: 0o644, size: 3, ...more }) });
const endOfList = Packet.create({ type: PacketType.PACKET_STAT });
const symlink = 2 ** 27 + 0o777;
const directory = 2 ** 31 + 0o755;

/** Sends a list, and `abc` for whatever is asked for. */
function sender(list: readonly Packet[]): NonNullable<Handlers<typeof FileSyncDefinition>['diffCopy']> {
	return async (requests, _call, send) => {
		for (const packet of [...list, endOfList]) await send(packet);
		for await (const { type, ID } of requests) {
			if (type === PacketType.PACKET_REQ) {
				await send(Packet.create({ type: PacketType.PACKET_DATA, ID, data: Buffer.from('abc') }));
				await send(Packet.create({ type: PacketType.PACKET_DATA, ID }));
			} else {
				if (type === PacketType.PACKET_FIN) await send(Packet.create({ type: PacketType.PACKET_FIN }));
				return;
			}
		}
	};
}

/** Copies everything of the local source `context`. */
function copyOfContext(sessionId: string): Definition {
	return marshal(scratch().file(fileActions().copy(local('context', { sessionId }), '/', '/', { copyDirContentsOnly: true })));
}

test.serial('health, version and workers', async (t) => {
	const client = t.context.daemon.connect();
	t.is((await client.unary(HealthDefinition.fullName, HealthDefinition.methods.check, HealthCheckRequest.create())).status, ServingStatus.SERVING);
	t.regex((await client.unary(control, methods.info, {})).buildkitVersion?.version ?? '', /^v\d/);
	t.is((await client.unary(control, methods.listWorkers, { filter: ['id==nobody'] })).record.length, 0);
	client.close();
});

test.serial('files of a client arrive as they are, hard links and times too', async (t) => {
	const client = t.context.daemon.connect();
	const id = await lend(client, sender([file('a', { modTime: 1_600_000_000_123_456_789n }), file('b', { linkname: 'a', size: 0, modTime: 1_600_000_000_123_456_789n }), file('d', { mode: directory }), file('d/s', { mode: symlink, linkname: '../a' })]));
	await t.notThrowsAsync(solve(client, { Session: id, Definition: copyOfContext(id) }));
	const transfers = path.join(t.context.store.root, 'transfers');
	const [key = ''] = await readdir(transfers);
	const files = path.join(transfers, key, '0/files');
	const [a, b] = await Promise.all(['a', 'b'].map((name) => lstat(path.join(files, name), { bigint: true })));
	t.is(a?.mtimeNs, 1_600_000_000_123_456_789n);
	t.is(a?.ino, b?.ino);
	client.close();
});

for (const [what, list, error] of [
	['a name with ..', [file('../escaped')], /invalid path "\.\.\/escaped" from sender/],
	['an absolute name', [file('/etc/escaped')], /invalid path/],
	['a file below a symlink', [file('link', { mode: symlink, linkname: '/tmp' }), file('link/escaped')], /out of order: link\/escaped before its directory/],
	['a link to a file it does not send', [file('x', { linkname: '/etc/passwd' })], /invalid link x to \/etc\/passwd/],
	['a name twice', [file('x'), file('x')], /duplicate path x/],
	['an error', [Packet.create({ type: PacketType.PACKET_ERR, data: Buffer.from('lost my disk') })], /error from sender: lost my disk/],
	['a file of an absurd size', [file('big', { size: 2 ** 53 - 1 })], /big has changed while it was sent: 3 of 9007199254740991 bytes/],
	['a file that is not its size', [file('big', { size: 50_000_000 })], /big has changed while it was sent: 3 of 50000000 bytes/],
] as const) {
	test.serial(`a client that sends ${what} is told so`, async (t) => {
		const client = t.context.daemon.connect();
		const id = await lend(client, sender(list));
		await t.throwsAsync(solve(client, { Session: id, Definition: copyOfContext(id) }), { instanceOf: RpcError, message: error });
		client.close();
	});
}

test.serial('a client that stalls in the middle of its files holds up nobody, and its end is the end of its build', async (t) => {
	const client = t.context.daemon.connect();
	let isAsked = (): void => undefined;
	const asked = new Promise<void>((resolve) => { isAsked = resolve; });
	const id = await lend(client, async (_requests, { signal }, send) => {
		await send(file('a'));
		isAsked();
		await once(signal, 'abort');
	});
	const stalled = t.throwsAsync(solve(client, { Session: id, Definition: copyOfContext(id) }));
	await asked;
	const other = t.context.daemon.connect();
	const otherId = await lend(other, sender([file('a')]));
	await t.notThrowsAsync(solve(other, { Session: otherId, Definition: copyOfContext(otherId) }));
	client.close();
	await stalled;
	const usage = await other.unary(control, methods.diskUsage, { filter: [], ageLimit: 0n });
	t.true(usage.record.length > 0);
	other.close();
});

test.serial('requests that make no sense end with a status that says why', async (t) => {
	const client = t.context.daemon.connect();
	const fails = async (request: Partial<SolveRequest>, message: RegExp): Promise<void> => {
		await t.throwsAsync(solve(client, request), { instanceOf: RpcError, message });
	};
	const good = marshal(image('docker.io/library/none').file(fileActions().mkdir('/x', 0o755)));
	await fails({ Ref: '' }, /without a Ref/);
	await fails({ Session: 'nobody' }, /^no active session for nobody: context deadline exceeded$/);
	await fails({ Frontend: 'no.such' }, /no\.such/);
	await fails({ Exporters: [{ Type: 'fax', Attrs: new Map() }] }, /exporter "fax" could not be found/);
	await fails({ Entitlements: ['security.insecure'] }, /granting entitlement security\.insecure is not allowed by build daemon configuration/);
	await fails({ Definition: { ...good, def: good.def.slice(1) } }, /failed to load LLB: invalid missing input digest sha256:/);
	await fails({ Definition: { ...good, def: [Buffer.from([0xff, 0xff]), ...good.def.slice(1)] } }, /failed to parse llb proto op|invalid missing input/);
	await fails({ Definition: { ...good, def: [Op.encode(Op.create({ inputs: [{ digest: `sha256:${'0'.repeat(64)}`, index: 0 }] })).finish()] } }, /failed to load LLB/);
	// A field of a BuildKit to come.
	await fails({ Definition: { ...good, def: [Buffer.from([0xca, 0x06, 0x01, 0x00]), Op.encode(Op.create({ inputs: [{ digest: digestOf(Buffer.from([0xca, 0x06, 0x01, 0x00])), index: 0 }] })).finish()] } }, /failed to load LLB: .*has no operation/);
	const wanting = new Map([...good.metadata].map(([digest, metadata]) => [digest, { ...metadata, caps: new Map([['exec.from.the.future', true]]) }]));
	await fails({ Definition: { ...good, metadata: wanting } }, /failed to load LLB: unknown API capability exec\.from\.the\.future/);
	const large = await t.throwsAsync(solve(client, { Definition: { ...good, def: [Buffer.alloc(20_000_000)] } }), { instanceOf: RpcError, message: /received message larger than max/ });
	t.is(large?.code, Code.RESOURCE_EXHAUSTED);
	const status = client.call(control, methods.status, {});
	await status.send({ Ref: 'never' });
	status.end();
	const gone = await t.throwsAsync(status.only(), { instanceOf: RpcError, message: 'no such job never' });
	t.is(gone?.code, Code.NOT_FOUND);
	const rubbish = { ...methods.solve, requestType: { ...SolveRequest, encode: () => ({ finish: () => Buffer.from([0x0a, 0xff, 0xff, 0xff, 0x0f]) }) } };
	t.is((await t.throwsAsync(client.unary(control, rubbish, SolveRequest.create()), { instanceOf: RpcError }))?.code, Code.INTERNAL);
	t.is((await client.unary(control, methods.listWorkers, { filter: [] })).record.length, 1);
	client.close();
});

test.serial('what a failed step worked on, and what it left, is there for the client as long as its build lasts', async (t) => {
	const client = t.context.daemon.connect();
	const Ref = randomUUID();
	const bridge = { name: LLBBridgeDefinition.fullName, calls: LLBBridgeDefinition.methods, options: { metadata: { 'buildkit-controlapi-buildid': Ref } } };
	const built = solve(client, { Ref });
	const failure = async (state: State): Promise<FailedStep> => {
		const request = GatewaySolveRequest.create({ Definition: marshal(state), Evaluate: true, allowResultReturn: true });
		const error = await t.throwsAsync(client.unary(bridge.name, bridge.calls.solve, request, bridge.options), { instanceOf: RpcError });
		const detail = error?.details.find(({ typeUrl }) => typeUrl === 'github.com/moby/buildkit/errdefs.Solve+json');
		return JSON.parse(Buffer.from(detail?.value ?? []).toString()) as FailedStep;
	};
	const fileOf = async (resultID: string, FilePath: string): Promise<string> => {
		const ContainerID = randomUUID();
		await client.unary(bridge.name, bridge.calls.newContainer, NewContainerRequest.create({ ContainerID, Mounts: [pb.Mount.create({ dest: '/', resultID })] }), bridge.options);
		const { Data } = await client.unary(bridge.name, bridge.calls.readFileContainer, ReadFileRequest.create({ Ref: ContainerID, FilePath, MountIndex: 0 }), bridge.options);
		await client.unary(bridge.name, bridge.calls.releaseContainer, { ContainerID }, bridge.options);
		return Buffer.from(Data).toString();
	};
	const mkfile = (name: string): FileActions => fileActions().mkfile(name, 0o644, Buffer.from(name));

	const ofFile = await failure(scratch().file(mkfile('/below')).file(mkfile('/first').mkfile('/none/second', 0o644, Buffer.from(''))));
	t.deepEqual([ofFile.inputIDs?.length, ofFile.mountIDs?.map((id) => id !== ''), ofFile.file], [1, [false, true], { index: '1' }]);
	t.is(ofFile.op?.file?.actions?.[0]?.mkfile?.path, '/first');
	t.is(await fileOf(ofFile.mountIDs?.[1] ?? '', '/first'), '/first');
	t.is(await fileOf(ofFile.inputIDs?.[0] ?? '', '/below'), '/below');

	const ofExec = await failure(scratch().file(mkfile('/root')).run({ args: ['/missing'], mounts: [{ target: '/rw', source: scratch().file(mkfile('/in')) }, { target: '/empty', tmpfs: {} }] }).root);
	t.deepEqual([ofExec.inputIDs?.map((id) => id !== ''), ofExec.mountIDs?.map((id) => id !== '')], [[true, false, true], [true, false, true]]);
	t.is(await fileOf(ofExec.mountIDs?.[2] ?? '', '/in'), '/in');

	const ofContent = await failure(scratch().file(fileActions().copy(scratch().file(mkfile('/there')), '/not-there', '/')));
	t.deepEqual([ofContent.inputIDs?.length, ofContent.mountIDs, ofContent.cache], [1, [], { index: '0' }]);
	t.is(await fileOf(ofContent.inputIDs?.[0] ?? '', '/there'), '/there');

	await client.unary(bridge.name, bridge.calls.return, ReturnRequest.create({ result: {} }), bridge.options);
	await built;
	await t.throwsAsync(fileOf(ofExec.mountIDs?.[2] ?? '', '/in'), { message: /no such job/ });
	client.close();
});

test.serial('the history keeps what was built, its progress and its errors, until it is deleted', async (t) => {
	const client = t.context.daemon.connect();
	const Ref = randomUUID();
	await t.throwsAsync(solve(client, { Ref, Definition: marshal(scratch().file(fileActions().rm('/missing'))) }), { instanceOf: RpcError });
	const history = async (request: Partial<BuildHistoryRequest>): Promise<BuildHistoryEvent[]> => {
		const call = client.call(control, methods.listenBuildHistory, {});
		await call.send(BuildHistoryRequest.create({ EarlyExit: true, ...request }));
		call.end();
		const events: BuildHistoryEvent[] = [];
		for await (const event of call) events.push(event);
		return events;
	};
	const [event] = await history({ Ref });
	t.is(event?.type, BuildHistoryEventType.COMPLETE);
	t.regex(event?.record?.error?.message ?? '', /missing/);
	t.true((event?.record?.logs?.size ?? 0) > 0);
	t.is((await history({ Filter: ['status==completed', `ref==${Ref}`] })).filter(({ record }) => record?.Ref === Ref).length, 1);
	t.is((await history({ Ref, Filter: ['status==completed'] })).length, 0);
	const status = client.call(control, methods.status, {});
	await status.send({ Ref });
	status.end();
	const responses: StatusResponse[] = [];
	for await (const response of status) responses.push(response);
	t.true(responses.some(({ vertexes }) => vertexes.some(({ error }) => error !== '')));
	await client.unary(control, methods.updateBuildHistory, { Ref, Delete: true, Pinned: false, Finalize: false });
	t.deepEqual(await history({ Ref }), []);
	client.close();
});

test.serial('over tcp only clients with a certificate of the authority are served', async (t) => {
	const { store } = t.context;
	const authority = makeCertificate(store.directory, 'authority');
	const port = await new Promise<number>((resolve) => {
		const probe = net.createServer().listen(0, '127.0.0.1', () => {
			const { port: free } = probe.address() as net.AddressInfo;
			probe.close(() => { resolve(free); });
		});
	});
	const daemon = await startDaemon(store, ['--addr', `tcp://127.0.0.1:${port}`, '--root', path.join(store.directory, 'second'), '--tlscert', authority.certificate, '--tlskey', authority.key, '--tlscacert', authority.certificate]);
	t.teardown(async () => { await daemon.stop(); });
	const check = async (credentials: tls.ConnectionOptions): Promise<ServingStatus> => {
		const socket = tls.connect({ port, host: '127.0.0.1', ca: execFileSync('cat', [authority.certificate]), ALPNProtocols: ['h2'], ...credentials });
		socket.on('error', () => undefined);
		const client = new RpcClient(socket);
		try {
			return (await client.unary(HealthDefinition.fullName, HealthDefinition.methods.check, HealthCheckRequest.create())).status;
		} finally {
			client.close();
		}
	};
	t.is(await check({ cert: execFileSync('cat', [authority.certificate]), key: execFileSync('cat', [authority.key]) }), ServingStatus.SERVING);
	await t.throwsAsync(check({}), { instanceOf: RpcError });
});

test.serial('flags and configuration: what obd cannot do is refused, what makes no difference is noted', async (t) => {
	const { store } = t.context;
	const refused = async (args: readonly string[], message: RegExp): Promise<void> => {
		const { code, stderr } = await runObdBuildd(store, args);
		t.not(code, 0);
		t.regex(stderr, message);
	};
	await refused(['--rootless'], /--rootless is not supported: /);
	await refused(['--oci-worker-net', 'cni'], /network mode "cni" is not supported/);
	await refused(['--no-such-flag'], /unknown flag: --no-such-flag/);
	await refused([], /could not lock .*another instance running\?/);
	const config = path.join(store.directory, 'buildkitd.toml');
	await writeFile(config, '[registry."example.com"\n');
	await refused(['--config', config], /failed to load config from .*buildkitd\.toml: line 1/);
	const noted = await startDaemon(store, ['--root', path.join(store.directory, 'third'), '--otel-socket-path', '/x', '--log-format', 'json']);
	t.regex(noted.program.stderr(), /"msg":"--otel-socket-path makes no difference to obd"/);
	t.is((await noted.stop()).code, 0);
});

test.serial('the daemon still serves, ends well and leaves nothing', async (t) => {
	const { daemon, store } = t.context;
	const client = daemon.connect();
	t.is((await client.unary(control, methods.listWorkers, { filter: [] })).record.length, 1);
	client.close();
	t.is((await daemon.stop()).code, 0);
	await nothingLeft(t, store);
});
