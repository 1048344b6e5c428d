// Logging in: basic, bearer tokens, Docker's configuration, credential helpers, TLS.
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { dockerCredentials, isRegistryError, RegistryClient, type CredentialProvider, type RegistryOptions } from '../../src/registry/index.js';
import { pushTestImage } from './helpers/images.js';
import { makeCertificate, startRegistry, type TestRegistry } from './helpers/registry.js';
import { startTokenServer, type TokenServer } from './helpers/token-server.js';

const basic = { username: 'someone', password: 'se:cret' };
const right: CredentialProvider = async () => ({ username: basic.username, secret: basic.password });
const nobody: CredentialProvider = async () => undefined;
const retry = { attempts: 2, firstDelay: 1 };

let basicRegistry: TestRegistry;
let tlsRegistry: TestRegistry;
test.before(async () => {
	[basicRegistry, tlsRegistry] = await Promise.all([startRegistry({ basic }), startRegistry({ tls: true })]);
	const client = new RegistryClient({ credentials: right });
	await pushTestImage(client.repository(`${basicRegistry.host}/private`), 'v1');
	client.close();
});
test.after.always(async () => {
	await Promise.all([basicRegistry?.stop(), tlsRegistry?.stop()]);
});

function newClient(t: ExecutionContext, options: RegistryOptions): RegistryClient {
	const client = new RegistryClient({ retry, ...options });
	t.teardown(() => client.close());
	return client;
}

function temporaryDirectory(t: ExecutionContext): string {
	const directory = mkdtempSync(path.join(tmpdir(), 'obd-test-'));
	t.teardown(() => rmSync(directory, { recursive: true, force: true }));
	return directory;
}

/** A registry that takes tokens, and the server that gives them. */
async function startTokenRegistry(t: ExecutionContext): Promise<{ registry: TestRegistry; server: TokenServer }> {
	const server = await startTokenServer();
	t.teardown(() => server.stop());
	const registry = await startRegistry({ token: server.options });
	t.teardown(() => registry.stop());
	return { registry, server };
}

test('basic: the right password works, for reading and for writing', async (t) => {
	const client = newClient(t, { credentials: right });
	await t.notThrowsAsync(client.resolve(`${basicRegistry.host}/private:v1`));
	await t.notThrowsAsync(pushTestImage(client.repository(`${basicRegistry.host}/another`), 'v1'));
});

test('basic: without or with a wrong password the refusal names registry and reason', async (t) => {
	for (const credentials of [nobody, async () => ({ username: 'someone', secret: 'wrong' })]) {
		const client = newClient(t, { credentials });
		const error = await t.throwsAsync(client.resolve(`${basicRegistry.host}/private:v1`));
		t.true(isRegistryError(error, 'unauthorized'));
		t.like(error, { registry: basicRegistry.host, status: 401, path: '/v2/private/manifests/v1' });
		t.regex(error?.message ?? '', /^pull access denied, repository does not exist or may require authorization: .*401 Unauthorized\nunauthorized: authentication required$/);
		const push = await t.throwsAsync(pushTestImage(client.repository(`${basicRegistry.host}/private`), 'v2'));
		t.regex(push?.message ?? '', /^push access denied, repository does not exist or may require authorization: /);
	}
});

test('credentials come from config.json, whatever form its keys have', async (t) => {
	const auth = Buffer.from(`${basic.username}:${basic.password}`).toString('base64');
	for (const key of [basicRegistry.host, `https://${basicRegistry.host}`, `http://${basicRegistry.host}/v1/`]) {
		for (const entry of [{ auth }, { username: basic.username, password: basic.password }]) {
			const directory = temporaryDirectory(t);
			writeFileSync(path.join(directory, 'config.json'), JSON.stringify({ auths: { 'other.example': { auth: 'eDp5' }, [key]: entry } }));
			await t.notThrowsAsync(newClient(t, { credentials: dockerCredentials(directory) }).resolve(`${basicRegistry.host}/private:v1`), key);
		}
	}
});

test('Docker Hub has its own key in config.json', async (t) => {
	const directory = temporaryDirectory(t);
	writeFileSync(path.join(directory, 'config.json'), JSON.stringify({ auths: { 'https://index.docker.io/v1/': { auth: Buffer.from('u:p').toString('base64') } } }));
	t.deepEqual(await dockerCredentials(directory)('registry-1.docker.io'), { username: 'u', secret: 'p' });
	t.is(await dockerCredentials(directory)('ghcr.io'), undefined);
	t.is(await dockerCredentials(path.join(directory, 'none'))('ghcr.io'), undefined);
});

test('a config.json that cannot be read is named in the error', async (t) => {
	const directory = temporaryDirectory(t);
	const file = path.join(directory, 'config.json');
	writeFileSync(file, '{');
	await t.throwsAsync(newClient(t, { credentials: dockerCredentials(directory) }).resolve(`${basicRegistry.host}/private:v1`), { message: new RegExp(`${file} is not valid JSON`) });
	writeFileSync(file, JSON.stringify({ auths: { 'x.io': { auth: 'bm9jb2xvbg==' } } }));
	await t.throwsAsync(dockerCredentials(directory)('x.io'), { message: /invalid auth configuration for x\.io/ });
});

/** Puts a credential helper of that name on the PATH, for this process. */
function installHelper(t: ExecutionContext, name: string, script: string): string {
	const directory = temporaryDirectory(t);
	const file = path.join(directory, `docker-credential-${name}`);
	writeFileSync(file, `#!/bin/sh\n${script}\n`);
	chmodSync(file, 0o755);
	const before = process.env['PATH'];
	process.env['PATH'] = `${directory}:${before}`;
	t.teardown(() => {
		process.env['PATH'] = before;
	});
	return directory;
}

test.serial('a credential helper is asked over stdin, and answers as JSON', async (t) => {
	const directory = installHelper(t, 'good', `[ "$1" = get ] || exit 9; read server; printf '{"ServerURL":"%s","Username":"${basic.username}","Secret":"${basic.password}"}' "$server"; printf '%s' "$server" > "$(dirname "$0")/asked"`);
	writeFileSync(path.join(directory, 'config.json'), JSON.stringify({ credHelpers: { [basicRegistry.host]: 'good' } }));
	await t.notThrowsAsync(newClient(t, { credentials: dockerCredentials(directory) }).resolve(`${basicRegistry.host}/private:v1`));
	t.is(readFileSync(path.join(directory, 'asked'), 'utf8'), basicRegistry.host);
});

test.serial('a credential store without an entry leaves what auths says', async (t) => {
	const directory = installHelper(t, 'empty', 'echo "credentials not found in native keychain"; exit 1');
	writeFileSync(path.join(directory, 'config.json'), JSON.stringify({ credsStore: 'empty', auths: { 'a.io': { auth: 'dTpw' }, 'b.io': {} } }));
	t.deepEqual(await dockerCredentials(directory)('a.io'), { username: 'u', secret: 'p' });
	t.is(await dockerCredentials(directory)('b.io'), undefined);
});

test.serial('an identity token of a helper has no user name', async (t) => {
	const directory = installHelper(t, 'token', `cat > /dev/null; echo '{"Username":"<token>","Secret":"refresh"}'`);
	writeFileSync(path.join(directory, 'config.json'), JSON.stringify({ credsStore: 'token' }));
	t.deepEqual(await dockerCredentials(directory)('a.io'), { username: '', secret: 'refresh' });
});

test.serial('a helper that fails, is missing or talks nonsense is an error that names it', async (t) => {
	const failing = installHelper(t, 'failing', 'echo "keychain is locked"; exit 3');
	installHelper(t, 'nonsense', 'echo hello');
	for (const [name, message] of [
		['failing', /docker-credential-failing failed for a\.io \(exit code 3\): keychain is locked/],
		['nonsense', /docker-credential-nonsense printed no valid JSON/],
		['missing', /cannot run the credential helper docker-credential-missing/],
		['../../bin/sh', /not a credential helper's name/],
	] as const) {
		writeFileSync(path.join(failing, 'config.json'), JSON.stringify({ credsStore: name }));
		await t.throwsAsync(dockerCredentials(failing)('a.io'), { message });
	}
});

test('bearer: an anonymous token, one for each need', async (t) => {
	const { registry, server } = await startTokenRegistry(t);
	const client = newClient(t, { credentials: nobody });
	await pushTestImage(client.repository(`${registry.host}/a`), 'v1');
	const pushes = server.requests.splice(0);
	t.deepEqual(pushes.map(({ method, authorization, parameters }) => [method, authorization, parameters.get('service'), parameters.getAll('scope')]),
		[['GET', undefined, 'test-registry', ['repository:a:pull,push']]]);
	await client.resolve(`${registry.host}/a:v1`);
	await client.resolve(`${registry.host}/a:v1`);
	t.deepEqual(server.requests.map(({ parameters }) => parameters.getAll('scope')), [['repository:a:pull']]);
});

test('bearer: many requests at once share one token', async (t) => {
	const { registry, server } = await startTokenRegistry(t);
	const client = newClient(t, { credentials: nobody });
	const { layers: [layer] } = await pushTestImage(client.repository(`${registry.host}/a`), 'v1', 10_000);
	server.requests.length = 0;
	const reader = newClient(t, { credentials: nobody }).repository(`${registry.host}/a`);
	await Promise.all(Array.from({ length: 20 }, (_, i) => reader.readRange(layer?.descriptor ?? { digest: '' }, i * 100, 100)));
	t.is(server.requests.length, 1);
});

test.serial('one signal for many requests at once is no cause for a warning', async (t) => {
	const warnings: string[] = [];
	const note = ({ name }: Error) => void warnings.push(name);
	process.on('warning', note);
	t.teardown(() => process.off('warning', note));
	const { registry } = await startTokenRegistry(t);
	const client = newClient(t, { credentials: nobody });
	await pushTestImage(client.repository(`${registry.host}/a`), 'v1');
	const { signal } = new AbortController();
	await Promise.all(Array.from({ length: 20 }, () => client.resolve(`${registry.host}/a:v1`, { signal })));
	await new Promise((resolve) => setImmediate(resolve));
	t.deepEqual(warnings, []);
});

test('bearer: a token is renewed before it ends, and when the registry takes it no more', async (t) => {
	const { registry, server } = await startTokenRegistry(t);
	const client = newClient(t, { credentials: nobody });
	await pushTestImage(client.repository(`${registry.host}/a`), 'v1');
	server.lifetime = 0.001;
	const short = newClient(t, { credentials: nobody });
	server.requests.length = 0;
	await short.head(`${registry.host}/a:v1`);
	await new Promise((resolve) => setTimeout(resolve, 5));
	await short.head(`${registry.host}/a:v1`);
	t.is(server.requests.length, 2, 'renewed without a 401');

	server.lifetime = 300;
	// A token that is no token: the registry refuses it, the next one is good.
	let first = true;
	server.instead = () => {
		const wrong = first;
		first = false;
		return wrong ? { status: 200, body: JSON.stringify({ token: 'expired', expires_in: 300 }) } : undefined;
	};
	const client2 = newClient(t, { credentials: nobody });
	server.requests.length = 0;
	await t.notThrowsAsync(client2.head(`${registry.host}/a:v1`));
	t.is(server.requests.length, 2);
});

test('bearer: name and password go to the token server, which decides', async (t) => {
	const { registry, server } = await startTokenRegistry(t);
	const header = `Basic ${Buffer.from('someone:se:cret').toString('base64')}`;
	server.allow = ({ authorization }) => authorization === header;
	await t.notThrowsAsync(pushTestImage(newClient(t, { credentials: right }).repository(`${registry.host}/a`), 'v1'));
	const error = await t.throwsAsync(newClient(t, { credentials: nobody }).resolve(`${registry.host}/a:v1`));
	t.true(isRegistryError(error, 'unauthorized'));
	t.regex(error?.message ?? '', /^failed to authorize: failed to fetch anonymous token: unexpected status from GET request to http:\/\/127\.0\.0\.1:\d+\/token\?service=test-registry&scope=repository%3Aa%3Apull: 401 Unauthorized\nunauthorized: who are you$/);
	const wrong = newClient(t, { credentials: async () => ({ username: 'x', secret: 'y' }) });
	await t.throwsAsync(wrong.resolve(`${registry.host}/a:v1`), { message: /^failed to authorize: failed to fetch oauth token: .*401 Unauthorized/ });
});

test('bearer: a token server that only knows OAuth2 gets the password by POST', async (t) => {
	const { registry, server } = await startTokenRegistry(t);
	server.instead = ({ method }) => (method === 'GET' ? { status: 405, body: '' } : undefined);
	await t.notThrowsAsync(pushTestImage(newClient(t, { credentials: right }).repository(`${registry.host}/a`), 'v1'));
	const post = server.requests.find(({ method }) => method === 'POST');
	t.deepEqual(Object.fromEntries(post?.parameters ?? []), {
		service: 'test-registry', client_id: 'obd', scope: 'repository:a:pull,push', grant_type: 'password', username: 'someone', password: 'se:cret',
	});
});

test('bearer: an identity token is exchanged by POST', async (t) => {
	const { registry, server } = await startTokenRegistry(t);
	const directory = temporaryDirectory(t);
	writeFileSync(path.join(directory, 'config.json'), JSON.stringify({ auths: { [registry.host]: { auth: 'PHRva2VuPjo=', identitytoken: 'refresh-me' } } }));
	server.allow = ({ method, parameters }) => method === 'POST' && parameters.get('grant_type') === 'refresh_token' && parameters.get('refresh_token') === 'refresh-me';
	await t.notThrowsAsync(pushTestImage(newClient(t, { credentials: dockerCredentials(directory) }).repository(`${registry.host}/a`), 'v1'));
});

for (const [what, body, message] of [
	['no token', '{}', /did not include a token/],
	['no JSON', '<html>', /did not include a token/],
	['a token with a line break', '{"token":"a\\r\\nX: y"}', /did not include a token/],
	['null', 'null', /did not include a token/],
] as const) {
	test(`bearer: a token server that answers with ${what} is an error`, async (t) => {
		const { registry, server } = await startTokenRegistry(t);
		server.instead = () => ({ status: 200, body });
		await t.throwsAsync(newClient(t, { credentials: nobody }).resolve(`${registry.host}/a:v1`), { name: 'RegistryError', message });
	});
}

test('bearer: a token server that has trouble is asked again', async (t) => {
	const { registry, server } = await startTokenRegistry(t);
	await pushTestImage(newClient(t, { credentials: nobody }).repository(`${registry.host}/a`), 'v1');
	let failures = 1;
	server.instead = () => (failures-- > 0 ? { status: 503, body: '' } : undefined);
	await t.notThrowsAsync(newClient(t, { credentials: nobody }).resolve(`${registry.host}/a:v1`));
	server.instead = () => ({ status: 503, body: '' });
	await t.throwsAsync(newClient(t, { credentials: nobody }).resolve(`${registry.host}/a:v1`), { message: /^failed to authorize: .*503/ });
});

test('tls: a certificate of a named authority is trusted, in order http then https on this machine', async (t) => {
	const client = newClient(t, { hosts: { [tlsRegistry.host]: { ca: [tlsRegistry.ca ?? ''] } } });
	await t.notThrowsAsync(pushTestImage(client.repository(`${tlsRegistry.host}/a`), 'v1'));
	await t.notThrowsAsync(newClient(t, { hosts: { [tlsRegistry.host]: { ca: [tlsRegistry.ca ?? ''], plainHttp: false } } }).resolve(`${tlsRegistry.host}/a:v1`));
});

test('tls: an unknown certificate is refused, unless the registry is said to be insecure', async (t) => {
	const error = await t.throwsAsync(newClient(t, {}).resolve(`${tlsRegistry.host}/a:v1`));
	t.true(isRegistryError(error, 'network'));
	t.regex(error?.message ?? '', /self-signed certificate/);
	await t.throwsAsync(newClient(t, {}).resolve(`${tlsRegistry.host}/nothing:v1`, { insecure: true }), { message: /nothing:v1: not found/ });
	await t.throwsAsync(newClient(t, { hosts: { [tlsRegistry.host]: { insecure: true } } }).resolve(`${tlsRegistry.host}/nothing:v1`), { message: /nothing:v1: not found/ });
});

test('tls: https only is https only', async (t) => {
	const error = await t.throwsAsync(newClient(t, { hosts: { [basicRegistry.host]: { plainHttp: false } } }).resolve(`${basicRegistry.host}/private:v1`));
	t.true(isRegistryError(error, 'network'), error?.message);
});

test('tls: a certificate authority that cannot be read is an error that names the file', async (t) => {
	await t.throwsAsync(newClient(t, { hosts: { [tlsRegistry.host]: { ca: ['/no/such.pem'], plainHttp: false } } }).resolve(`${tlsRegistry.host}/a:v1`), { message: /\/no\/such\.pem/ });
	const directory = temporaryDirectory(t);
	makeCertificate(directory, 'other');
	await t.throwsAsync(newClient(t, { hosts: { [tlsRegistry.host]: { ca: [path.join(directory, 'other.crt')], plainHttp: false } } }).resolve(`${tlsRegistry.host}/a:v1`), { message: /certificate/ });
});
