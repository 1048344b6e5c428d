// Who we are to a registry: Docker's own configuration (config.json) and its credential helpers.
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';

export interface Credentials {
	/** '' together with an identity token. */
	readonly username: string;
	/** Password, or with an empty user name an identity (refresh) token. */
	readonly secret: string;
	/** A bearer token to be used as it is. */
	readonly registryToken?: string;
}

/** Who somebody is to registries. Asked only when a registry demands it. */
export interface CredentialProvider {
	/** What to say to a host; undefined means anonymous. */
	(host: string): Promise<Credentials | undefined>;
	/** A token from whoever logs in himself; undefined: he leaves it to us, with his credentials. Absent: always. */
	readonly token?: (request: TokenRequest) => Promise<Token | undefined>;
}

/** A registry's demand for a token (distribution's token authentication). */
export interface TokenRequest {
	/** The registry's. */
	readonly host: string;
	/** URL of the token server. */
	readonly realm: string;
	readonly service: string;
	readonly scopes: readonly string[];
	/** A token for the same that the registry did not take. */
	readonly refused?: string;
}

export interface Token {
	readonly value: string;
	/** Milliseconds since 1970; a new one is fetched from then on. */
	readonly renewAt: number;
}

interface DockerAuth {
	readonly auth?: string;
	readonly username?: string;
	readonly password?: string;
	readonly identitytoken?: string;
	readonly registrytoken?: string;
}

interface DockerConfig {
	readonly auths?: Readonly<Record<string, DockerAuth>>;
	readonly credHelpers?: Readonly<Record<string, string>>;
	readonly credsStore?: string;
}

const dockerHubKey = 'https://index.docker.io/v1/';
const dockerHubHosts = new Set(['docker.io', 'registry-1.docker.io', 'index.docker.io']);
/** What helpers print when they have nothing (docker-credential-helpers). */
const nothingFound = /credentials not found/i;
const helperTimeout = 30_000;
const maxHelperOutput = 1024 * 1024;

/** Credentials of `$DOCKER_CONFIG/config.json`, or `~/.docker/config.json`; read when first needed. */
export function dockerCredentials(directory: string = process.env['DOCKER_CONFIG'] ?? path.join(homedir(), '.docker')): CredentialProvider {
	let config: Promise<DockerConfig> | undefined;
	return async (host) => {
		config ??= readConfig(path.join(directory, 'config.json'));
		return lookUp(await config, dockerHubHosts.has(host) ? dockerHubKey : host);
	};
}

async function readConfig(file: string): Promise<DockerConfig> {
	let text: string;
	try {
		text = await readFile(file, 'utf8');
	} catch (error) {
		if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return {};
		throw new Error(`cannot read the credentials in ${file}: ${(error as Error).message}`, { cause: error });
	}
	try {
		return JSON.parse(text) as DockerConfig ?? {};
	} catch (error) {
		throw new Error(`${file} is not valid JSON: ${(error as Error).message}`, { cause: error });
	}
}

async function lookUp(config: DockerConfig, key: string): Promise<Credentials | undefined> {
	const helper = config.credHelpers?.[key] ?? config.credHelpers?.[hostOf(key)] ?? config.credsStore;
	const fromHelper = typeof helper === 'string' && helper !== '' ? await askHelper(helper, key) : undefined;
	return fromHelper ?? fromAuths(config.auths ?? {}, key);
}

/** Keys were written by many tools: with a scheme, with a path, or as the bare host. */
function fromAuths(auths: Readonly<Record<string, DockerAuth>>, key: string): Credentials | undefined {
	const name = Object.hasOwn(auths, key) ? key : Object.keys(auths).find((candidate) => hostOf(candidate) === hostOf(key));
	const entry = name === undefined ? undefined : auths[name];
	return entry === undefined || entry === null ? undefined : decodeAuth(entry, name ?? key);
}

function hostOf(key: string): string {
	return key.replace(/^https?:\/\//, '').split('/')[0] ?? key;
}

function decodeAuth(entry: DockerAuth, name: string): Credentials | undefined {
	const registryToken = entry.registrytoken ? { registryToken: entry.registrytoken } : {};
	if (entry.identitytoken) return { username: '', secret: entry.identitytoken, ...registryToken };
	let { username = '', password = '' } = entry;
	if (entry.auth) {
		const decoded = Buffer.from(entry.auth, 'base64').toString('utf8');
		const colon = decoded.indexOf(':');
		if (colon === -1) throw new Error(`invalid auth configuration for ${name} in Docker's config.json`);
		username = decoded.slice(0, colon);
		password = decoded.slice(colon + 1).replace(/\0+$/, '');
	}
	if (password === '' && entry.registrytoken === undefined) return undefined;
	return { username, secret: password, ...registryToken };
}

/** The docker-credential-helpers protocol: `docker-credential-NAME get`, the server on stdin, JSON on stdout. */
async function askHelper(name: string, server: string): Promise<Credentials | undefined> {
	if (!/^[\w.-]+$/.test(name)) throw new Error(`not a credential helper's name: ${JSON.stringify(name)}`);
	const program = `docker-credential-${name}`;
	const { output, code } = await runHelper(program, server);
	if (code !== 0) {
		if (nothingFound.test(output)) return undefined;
		throw new Error(`${program} failed for ${server} (exit code ${code}): ${output.trim().slice(0, 500)}`);
	}
	let answer: { Username?: unknown; Secret?: unknown };
	try {
		answer = JSON.parse(output) as typeof answer;
	} catch {
		throw new Error(`${program} printed no valid JSON for ${server}`);
	}
	const { Username: username, Secret: secret } = answer ?? {};
	if (typeof username !== 'string' || typeof secret !== 'string') throw new Error(`${program} printed no Username and Secret for ${server}`);
	return secret === '' ? undefined : { username: username === '<token>' ? '' : username, secret };
}

async function runHelper(program: string, input: string): Promise<{ output: string; code: number }> {
	const { spawn } = await import('node:child_process');
	return new Promise((resolve, reject) => {
		const limit = AbortSignal.timeout(helperTimeout);
		const child = spawn(program, ['get'], { stdio: ['pipe', 'pipe', 'ignore'], killSignal: 'SIGKILL', signal: limit });
		const chunks: Buffer[] = [];
		let size = 0;
		child.stdout.on('data', (chunk: Buffer) => {
			size += chunk.length;
			if (size > maxHelperOutput) child.kill('SIGKILL');
			else chunks.push(chunk);
		});
		child.on('error', (error) => {
			if (limit.aborted) reject(new Error(`${program} did not answer within ${helperTimeout / 1000} s`));
			else reject(new Error(`cannot run the credential helper ${program}: ${error.message}`, { cause: error }));
		});
		child.on('close', (code) => resolve({ output: Buffer.concat(chunks).toString('utf8'), code: code ?? 1 }));
		// It may end without reading.
		child.stdin.on('error', () => {});
		child.stdin.end(input);
	});
}
