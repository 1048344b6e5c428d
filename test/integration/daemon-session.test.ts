// What clients say in the course of their builds: which sources may be used, where a result goes, what a frontend
// returns; and frontends that say nothing.
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import anyTest, { type TestFn } from 'ava';
import { ControlDefinition, SolveRequest, type StatusResponse } from '../../src/control/gen/control.js';
import { LLBBridgeDefinition, PolicyAction, PolicyVerifierDefinition, type CheckPolicyRequest, type CheckPolicyResponse } from '../../src/gateway/index.js';
import { ReadDirRequest, ResolveImageConfigRequest, ResolveSourceMetaRequest, ReturnRequest, SolveRequest as BridgeRequest } from '../../src/gateway/gen/gateway.js';
import { DecisionResponse, CheckPolicyResponse as PolicyResponse } from '../../src/gateway/gen/policysession.js';
import { Code, RpcError, RpcServer, type RpcClient } from '../../src/grpc/index.js';
import { fileActions, image, marshal, scratch, type Definition } from '../../src/llb/index.js';
import { ExporterDefinition } from '../../src/session/gen/exporter.js';
import { FileSendDefinition } from '../../src/session/gen/filesync.js';
import { busybox, pushBase, tarOf } from './helpers/base-images.js';
import { nothingLeft, setUpBuilds, type BuildContext } from './helpers/build-fixture.js';
import { startDaemon, succeed, type TestDaemon } from './helpers/daemon.js';
import { until } from './helpers/device.js';
import { makeContext } from './helpers/obd.js';
import { readTar } from './helpers/rootfs.js';
import { lendServices } from './helpers/session.js';

const test = anyTest as TestFn<BuildContext & { daemon: TestDaemon }>;
setUpBuilds(test as unknown as TestFn<BuildContext>);

test.serial.before(async (t) => { t.context.daemon = await startDaemon(t.context.store); });
test.after.always((t) => t.context.daemon?.stop());

const control = ControlDefinition.fullName;
const { methods } = ControlDefinition;
const bridge = LLBBridgeDefinition.methods;

function solve(client: RpcClient, request: Partial<SolveRequest>): Promise<unknown> {
	return client.unary(control, methods.solve, SolveRequest.create({ Ref: randomUUID(), ...request }));
}

const oneFile = (name: string): Definition => marshal(scratch().file(fileActions().mkfile(`/${name}`, 0o644, Buffer.from(name))));

/** A client that judges sources. Returns its session, and what it was told. */
function lendJudge(client: RpcClient, judge: (request: CheckPolicyRequest, count: number) => CheckPolicyResponse['result']): { readonly id: string; readonly asked: CheckPolicyRequest[] } {
	const asked: CheckPolicyRequest[] = [];
	const server = new RpcServer().add(PolicyVerifierDefinition, { checkPolicy: (request) => PolicyResponse.create({ result: judge(request, asked.push(request) - 1) }) });
	return { id: lendServices(client, server, ['/moby.buildkit.v1.sourcepolicy.policysession.PolicyVerifier/CheckPolicy']), asked };
}

const decide = (decision: Partial<DecisionResponse>): CheckPolicyResponse['result'] => ({ $case: 'decision', decision: DecisionResponse.create(decision) });

test.serial('a client judges the sources of its build: it is told what they are, and allows, denies and replaces them', async (t) => {
	const { base, daemon, registry } = t.context;
	const client = daemon.connect();
	t.teardown(() => client.close());
	const wanted = `docker-image://${registry.host}/none:1`;
	const real = `docker-image://${base}:latest`;
	const Definition = marshal(image(`${registry.host}/none:1`).file(fileActions().mkdir('/x', 0o755)));
	const good = lendJudge(client, ({ Source }, count) => {
		if (count === 0) return decide({ action: PolicyAction.CONVERT, update: { identifier: real, attrs: new Map() } });
		if (count === 1) return { $case: 'request', request: ResolveSourceMetaRequest.create({ Source: Source?.Source }) };
		return decide({ action: PolicyAction.ALLOW });
	});
	await t.notThrowsAsync(solve(client, { Definition, SourcePolicySession: good.id }));
	t.deepEqual(good.asked.map(({ Source }) => Source?.Source?.identifier), [wanted, real, real]);
	t.deepEqual(good.asked.map(({ Source }) => Source?.Image?.Digest.slice(0, 7)), [undefined, undefined, 'sha256:']);
	t.is(good.asked[0]?.Platform?.OS, 'linux');

	const denied = await t.throwsAsync(solve(client, { Definition, SourcePolicySession: lendJudge(client, () => decide({ action: PolicyAction.DENY, denyMessages: [{ message: 'use another' }] })).id }), { instanceOf: RpcError, message: new RegExp(`source "${wanted}" not allowed by policy: action DENY`) });
	t.true(denied?.details.some(({ typeUrl, value }) => typeUrl.endsWith('policysession.DecisionResponse+json') && Buffer.from(value).toString().includes('use another')));
	for (const [judge, message] of [
		[() => decide({ action: PolicyAction.CONVERT, update: { identifier: wanted, attrs: new Map() } }), /too many policy requests/],
		[() => decide({ action: PolicyAction.CONVERT }), /convert action requires updated source/],
		[() => undefined, /no decision in policy response/],
		[() => ({ $case: 'request', request: ResolveSourceMetaRequest.create({ Source: { identifier: real } }) }) as const, /policy requested different source identifier/],
		[() => { throw new RpcError(Code.PERMISSION_DENIED, 'the judge is asleep'); }, /the judge is asleep/],
	] as const) {
		await t.throwsAsync(solve(client, { Definition, SourcePolicySession: lendJudge(client, judge).id }), { message });
	}
	await t.throwsAsync(solve(client, { Definition, SourcePolicySession: 'nobody' }), { message: /no active session for nobody/ });
});

test.serial('a client names exporters once there is a result, looks at it before, and has the last word', async (t) => {
	const client = t.context.daemon.connect();
	t.teardown(() => client.close());
	const Ref = randomUUID();
	const metadata = { 'buildkit-controlapi-buildid': Ref };
	const seen: string[] = [];
	const chunks: Uint8Array[] = [];
	let verdict: Error | undefined;
	const server = new RpcServer().add(ExporterDefinition, {
		findExporters: async ({ refs }) => {
			t.is(refs.length, 1);
			const { entries } = await client.unary(LLBBridgeDefinition.fullName, bridge.readDir, ReadDirRequest.create({ Ref: refs[0] ?? '', DirPath: '/' }), { metadata });
			seen.push(...entries.map(({ path: name }) => name));
			return { exporters: [{ Type: 'tar', Attrs: new Map() }] };
		},
		finalizeExport: () => (verdict ? Promise.reject(verdict) : {}),
	}).add(FileSendDefinition, {
		diffCopy: async (requests) => {
			for await (const { data } of requests) chunks.push(data);
		},
	});
	const Session = lendServices(client, server, ['/moby.exporter.v1.Exporter/FindExporters', '/moby.exporter.v1.Exporter/FinalizeExport', '/moby.filesync.v1.FileSend/DiffCopy']);
	const building = solve(client, { Ref, Session, EnableSessionExporter: true });
	const { result } = await client.unary(LLBBridgeDefinition.fullName, bridge.solve, BridgeRequest.create({ Definition: oneFile('made'), allowResultReturn: true, allowResultArrayRef: true }), { metadata });
	await client.unary(LLBBridgeDefinition.fullName, bridge.return, ReturnRequest.create({ result }), { metadata });
	await building;
	t.deepEqual(seen, ['made'], 'the disk of a result shows no lost+found');
	t.true((await readTar(Buffer.concat(chunks))).some(({ name }) => name.replace(/^\.?\//, '') === 'made'));
	verdict = new RpcError(Code.INTERNAL, 'not what I wanted');
	const refused = lendServices(client, new RpcServer().add(ExporterDefinition, { findExporters: () => ({ exporters: [] }), finalizeExport: () => Promise.reject(verdict as Error) }), ['/moby.exporter.v1.Exporter/FindExporters', '/moby.exporter.v1.Exporter/FinalizeExport']);
	await t.throwsAsync(solve(client, { Session: refused, EnableSessionExporter: true, Definition: oneFile('made') }), { message: /not what I wanted/ });
	const odd = lendServices(client, new RpcServer().add(ExporterDefinition, { findExporters: () => ({ exporters: [{ Type: 'fax', Attrs: new Map() }] }) }), ['/moby.exporter.v1.Exporter/FindExporters']);
	await t.throwsAsync(solve(client, { Session: odd, EnableSessionExporter: true, Definition: oneFile('made') }), { message: /exporter "fax" could not be found/ });
});

test.serial('a frontend is answered in the words it asked in: the digest of an image stands beside its reference', async (t) => {
	const { base, daemon } = t.context;
	const client = daemon.connect();
	t.teardown(() => client.close());
	const Ref = randomUUID();
	const metadata = { 'buildkit-controlapi-buildid': Ref };
	const building = solve(client, { Ref });
	const ask = (reference: string): Promise<{ readonly Ref: string; readonly Digest: string }> => client.unary(LLBBridgeDefinition.fullName, bridge.resolveImageConfig, ResolveImageConfigRequest.create({ Ref: reference, LogName: 'asking' }), { metadata });
	const { Digest, Ref: plain } = await ask(`${base}:latest`);
	t.is(plain, `${base}:latest`);
	t.is((await ask(`${base}:latest@${Digest}`)).Ref, `${base}:latest@${Digest}`);
	await client.unary(LLBBridgeDefinition.fullName, bridge.return, ReturnRequest.create({ result: { result: { $case: 'ref', ref: { id: '', def: undefined } }, metadata: new Map(), attestations: new Map() } }), { metadata });
	await building;
});

test.serial('a result for other platforms than were asked for comes with a warning', async (t) => {
	const client = t.context.daemon.connect();
	t.teardown(() => client.close());
	const warnings = async (platform: string): Promise<string[]> => {
		const Ref = randomUUID();
		await solve(client, { Ref, Definition: oneFile('made'), FrontendAttrs: new Map([['platform', platform]]) });
		const status = client.call(control, methods.status, {});
		await status.send({ Ref });
		status.end();
		const responses: StatusResponse[] = [];
		for await (const response of status) responses.push(response);
		return responses.flatMap((response) => response.warnings.map(({ short }) => Buffer.from(short).toString()));
	};
	t.deepEqual(await warnings('linux/amd64,linux/arm64'), ['Multiple platforms requested but result is not multi-platform']);
	t.deepEqual(await warnings('linux/s390x'), [`Requested platform "linux/s390x" does not match result platform "linux/${process.arch === 'x64' ? 'amd64' : process.arch}"`]);
	t.deepEqual(await warnings(`linux/${process.arch === 'x64' ? 'amd64' : process.arch}`), []);
});

test.serial('a frontend that never answers holds up nobody, and ends with its client', async (t) => {
	const { base, daemon, registry, store } = t.context;
	await pushBase(registry.host, 'silent', [await tarOf(busybox())], { config: { Entrypoint: ['sh', '-c', 'exec sleep 1573'] } });
	const sleeping = (): boolean => execFileSync('ps', ['-eo', 'args'], { encoding: 'utf8' }).split('\n').includes('sleep 1573');
	const kill = new AbortController();
	const silent = daemon.buildx(['build', '--progress', 'plain', await makeContext(store, { Dockerfile: `# syntax=${registry.host}/silent\nFROM scratch\n` })], { signal: kill.signal });
	await until(() => Promise.resolve(sleeping()));
	await t.notThrowsAsync(succeed(daemon.buildx(['build', '--progress', 'plain', await makeContext(store, { Dockerfile: `FROM ${base}\nRUN true\n` })])));
	t.true(sleeping());
	kill.abort();
	t.not((await silent).code, 0);
	await until(() => Promise.resolve(!sleeping()));
});

test.serial('the daemon leaves nothing', async (t) => {
	t.is((await t.context.daemon.stop()).code, 0);
	await nothingLeft(t, t.context.store);
});
