// Private registries with a daemon: it has no credentials of its own, the client lends it what it has, as tokens
// or as names and passwords, for as long as its build runs.
import { generateKeyPairSync, randomBytes, randomUUID, sign } from 'node:crypto';
import { mkdtemp, writeFile } from 'node:fs/promises';
import path from 'node:path';
import anyTest, { type TestFn } from 'ava';
import { ControlDefinition, SolveRequest } from '../../src/control/gen/control.js';
import { RpcServer, type Handlers, type RpcClient } from '../../src/grpc/index.js';
import { image, marshal } from '../../src/llb/index.js';
import { AuthDefinition } from '../../src/session/gen/auth.js';
import { nothingLeft, ownStore, setUpBuilds, type BuildContext } from './helpers/build-fixture.js';
import { startDaemon, succeed, type TestDaemon } from './helpers/daemon.js';
import { answer, startFaultProxy, type FaultProxy } from './helpers/fault-proxy.js';
import { makeContext, type ProgramResult } from './helpers/obd.js';
import { startRegistry } from './helpers/registry.js';
import { lendServices } from './helpers/session.js';
import { startTokenServer, type TokenRequest, type TokenServer } from './helpers/token-server.js';

interface Context extends BuildContext {
	readonly daemon: TestDaemon;
	readonly tokens: TokenServer;
	/** In front of a registry that wants tokens. */
	readonly proxy: FaultProxy;
	/** `DOCKER_CONFIG` of a client that may use it. */
	readonly config: string;
	/** What was started for the file, to be stopped. */
	readonly started: readonly { stop(): Promise<unknown> }[];
}

const test = anyTest as TestFn<Context>;
setUpBuilds(test as unknown as TestFn<BuildContext>);

const someone = { username: 'someone', password: `secret-${randomUUID()}` };
const basic = `Basic ${Buffer.from(`${someone.username}:${someone.password}`).toString('base64')}`;
const isSomeone = ({ authorization, parameters }: TokenRequest): boolean => authorization === basic || parameters.get('password') === someone.password;

/** A client's configuration that logs in to a host. */
async function configFor({ store }: BuildContext, host: string, password = someone.password): Promise<string> {
	const directory = await mkdtemp(path.join(store.directory, 'docker-config-'));
	await writeFile(path.join(directory, 'config.json'), JSON.stringify({ auths: { [host]: { auth: Buffer.from(`${someone.username}:${password}`).toString('base64') } } }));
	return directory;
}

/** Two files that are not compressed away, in a layer that is read lazily. */
function baseContext({ store, base }: BuildContext): Promise<string> {
	return makeContext(store, { Dockerfile: `FROM ${base}\nCOPY a b /\n`, a: randomBytes(1_000_000), b: randomBytes(1_000_000) });
}

function build(daemon: TestDaemon, config: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<ProgramResult> {
	return daemon.buildx(['build', '--progress', 'plain', '--provenance=false', ...args], { env: { DOCKER_CONFIG: config, ...env } });
}

test.serial.before(async (t) => {
	const tokens = await startTokenServer();
	tokens.allow = isSomeone;
	const registry = await startRegistry({ token: tokens.options });
	const proxy = await startFaultProxy(registry.host);
	const daemon = await startDaemon(t.context.store, ['--debug']);
	Object.assign(t.context, { tokens, proxy, daemon, config: await configFor(t.context, proxy.host), started: [daemon, proxy, registry, tokens] });
	await succeed(build(daemon, t.context.config, ['--push', '-t', `${proxy.host}/private/base`, await baseContext(t.context)]));
});

test.after.always(async (t) => {
	for (const one of t.context.started ?? []) await one.stop();
});

test.serial('a push to a private repository uses tokens that the client fetches', (t) => {
	const { requests } = t.context.tokens;
	t.true(requests.some(({ parameters }) => parameters.get('scope') === 'repository:private/base:pull,push'));
	t.true(requests.every((request) => isSomeone(request) && request.parameters.get('client_id') === 'buildkit-client' && request.parameters.get('service') === t.context.tokens.options.service));
});

for (const [what, env] of [['that the client fetches', {}], ['fetched with what the client shows of itself', { BUILDKIT_NO_CLIENT_TOKEN: '1' }]] as const) {
	test.serial(`a private base is read lazily to the end of the build with tokens ${what}, however often they end`, async (t) => {
		const { proxy, tokens, config } = t.context;
		const fresh = await ownStore(t);
		const daemon = await startDaemon(fresh);
		t.teardown(() => daemon.stop());
		// Each token is good for a few reads.
		const uses = new Map<string, number>();
		proxy.fault = ({ url = '', headers: { authorization = '', range } }, response) => {
			if (range === undefined || !url.includes('/blobs/')) return false;
			uses.set(authorization, (uses.get(authorization) ?? 0) + 1);
			if (authorization !== '' && (uses.get(authorization) ?? 0) <= 3) return false;
			const { realm, service } = tokens.options;
			return answer(response, 401, { 'www-authenticate': `Bearer realm="${realm}",service="${service}",scope="repository:private/base:pull",error="invalid_token"` });
		};
		t.teardown(() => { proxy.fault = () => false; });
		tokens.requests.length = 0;
		await succeed(build(daemon, config, [await makeContext(fresh, { Dockerfile: `FROM ${proxy.host}/private/base\nRUN cat /a | wc -c\nRUN cat /b | wc -c\n` })], env));
		t.true([...uses.keys()].filter((token) => token !== '').length > 1, 'tokens ended on the way');
		const byClient = tokens.requests.filter(({ parameters }) => parameters.get('client_id') === 'buildkit-client');
		t.is(byClient.length, 'BUILDKIT_NO_CLIENT_TOKEN' in env ? 0 : tokens.requests.length);
		t.true(tokens.requests.every(isSomeone));
	});
}

test.serial('the next build of the same client needs no new token, one of another client does not get it', async (t) => {
	const { proxy, tokens, config, daemon, store } = t.context;
	const context = await makeContext(store, { Dockerfile: `FROM ${proxy.host}/private/base\nRUN cat /a | wc -c\n` });
	await succeed(build(daemon, config, [context]));
	tokens.requests.length = 0;
	await succeed(build(daemon, config, [context]));
	t.is(tokens.requests.length, 0);
	// Everything it asks for is there, and none of it is his.
	for (const [other, reason] of [[await configFor(t.context, 'other.example'), 'anonymous'], [await configFor(t.context, proxy.host, 'wrong'), 'oauth']] as const) {
		const { code, stderr } = await build(daemon, other, [context]);
		t.not(code, 0);
		t.regex(stderr, new RegExp(`failed to authorize: failed to fetch ${reason} token: .*(401 Unauthorized|unauthorized: who are you)`));
	}
	const { stderr } = await succeed(build(daemon, config, [context]));
	t.regex(stderr, /CACHED/);
});

test.serial('layers that are in a public repository too are read there by who may not read the private one', async (t) => {
	const { proxy, registry, config } = t.context;
	const [fresh, copy] = [await ownStore(t), `${registry.host}/copy`];
	const daemon = await startDaemon(fresh);
	t.teardown(() => daemon.stop());
	await succeed(daemon.buildx(['imagetools', 'create', '-t', copy, `${proxy.host}/private/base`], { env: { DOCKER_CONFIG: config } }));
	await succeed(build(daemon, config, [await makeContext(fresh, { Dockerfile: `FROM ${proxy.host}/private/base\nRUN cat /a | wc -c\n` })]));
	const stranger = await configFor(t.context, 'other.example');
	await t.notThrowsAsync(succeed(build(daemon, stranger, [await makeContext(fresh, { Dockerfile: `FROM ${copy}\nRUN cat /b | wc -c\n` })])));
});

test.serial('a registry that wants names and passwords gets those of the client', async (t) => {
	const registry = await startRegistry({ basic: someone });
	t.teardown(() => registry.stop());
	const fresh = await ownStore(t);
	const daemon = await startDaemon(fresh);
	t.teardown(() => daemon.stop());
	const right = await configFor(t.context, registry.host);
	await succeed(build(t.context.daemon, right, ['--push', '-t', `${registry.host}/base`, await baseContext(t.context)]));
	const context = await makeContext(fresh, { Dockerfile: `FROM ${registry.host}/base\nRUN cat /a | wc -c\n` });
	for (const wrong of [await configFor(t.context, 'other.example'), await configFor(t.context, registry.host, 'wrong')]) {
		const { code, stderr } = await build(daemon, wrong, [context]);
		t.not(code, 0);
		t.regex(stderr, /pull access denied, repository does not exist or may require authorization/);
	}
	await succeed(build(daemon, right, [context]));
});

/** A session that answers what it is asked about registries. Returns its id. */
function lendLogin(client: RpcClient, handlers: Handlers<typeof AuthDefinition>): string {
	const offered = Object.keys(handlers).map((name) => `/moby.filesync.v1.Auth/${name[0]?.toUpperCase()}${name.slice(1)}`);
	return lendServices(client, new RpcServer().add(AuthDefinition, handlers), offered);
}

test.serial('a client that only fetches tokens is asked for them, and one that claims to be another gets none of his', async (t) => {
	const { proxy, daemon, tokens } = t.context;
	const client = daemon.connect();
	t.teardown(() => client.close());
	const pull = (Session: string): Promise<unknown> => client.unary(ControlDefinition.fullName, ControlDefinition.methods.solve, SolveRequest.create({
		Ref: randomUUID(), Session, Definition: marshal(image(`${proxy.host}/private/base`)),
	}));
	const fetchAs = async (scope: string): Promise<string> => {
		const answered = await fetch(`${tokens.options.realm}?${new URLSearchParams({ scope, service: tokens.options.service }).toString()}`, { headers: { authorization: basic } });
		return (await answered.json() as { token: string }).token;
	};
	let fetched = 0;
	const honest: Handlers<typeof AuthDefinition> = {
		fetchToken: async ({ Host, Scopes, Realm }) => {
			t.is(Host, proxy.host);
			t.is(Realm, tokens.options.realm);
			fetched++;
			return { Token: await fetchAs(Scopes.join(' ')), ExpiresIn: 300, IssuedAt: 0 };
		},
	};
	await t.notThrowsAsync(pull(lendLogin(client, honest)));
	t.is(fetched, 1);

	const { publicKey, privateKey } = generateKeyPairSync('ed25519');
	const PublicKey = publicKey.export({ format: 'der', type: 'spki' }).subarray(-32);
	const proving: Handlers<typeof AuthDefinition> = {
		...honest,
		getTokenAuthority: () => Promise.resolve({ PublicKey }),
		verifyTokenAuthority: ({ Payload }) => Promise.resolve({ Signed: Buffer.concat([sign(null, Payload, privateKey), Payload]) }),
	};
	for (let build = 0; build < 2; build++) await t.notThrowsAsync(pull(lendLogin(client, proving)));
	t.is(fetched, 2, 'one that proves who it is gets the token of its earlier build');
	let asked = 0;
	const lying: Handlers<typeof AuthDefinition> = {
		getTokenAuthority: () => Promise.resolve({ PublicKey }),
		verifyTokenAuthority: ({ Payload }) => Promise.resolve({ Signed: Buffer.concat([randomBytes(64), Payload]) }),
		fetchToken: () => Promise.resolve({ Token: `made-up-${asked++}`, ExpiresIn: 300, IssuedAt: 0 }),
	};
	await t.throwsAsync(pull(lendLogin(client, lying)), { message: /pull access denied/ });
	t.true(asked > 0);
	for (const [odd, message] of [
		[{ ...lying, fetchToken: () => Promise.resolve({ Token: 'not\r\na header', ExpiresIn: 300, IssuedAt: 0 }) }, /failed to authorize: the client fetched no usable token/],
		[{ ...lying, getTokenAuthority: () => Promise.resolve({ PublicKey: Buffer.from('short') }) }, /failed to authorize: invalid pubkey length 5/],
		[{ ...lying, fetchToken: () => Promise.reject(new Error('the keychain is locked')) }, /failed to authorize: the keychain is locked/],
	] as const) {
		await t.throwsAsync(pull(lendLogin(client, odd)), { message });
	}
	await t.notThrowsAsync(pull(lendLogin(client, proving)));
	t.is(fetched, 2);
});

test.serial('no secret and no token is in the log, and the daemon leaves nothing', async (t) => {
	const { stderr } = await t.context.daemon.stop();
	t.true(stderr.length > 0);
	t.false(stderr.includes(someone.password) || stderr.includes(basic.slice('Basic '.length)) || /eyJ[\w-]+\./.test(stderr));
	await nothingLeft(t, t.context.store);
});
