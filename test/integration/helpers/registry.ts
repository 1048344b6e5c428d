// A real registry (Debian's docker-registry) on a free loopback port, for tests. `stop` leaves nothing.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';

export interface RegistryOptions {
	/** Basic authentication with this user. */
	readonly basic?: { readonly username: string; readonly password: string };
	/** Bearer authentication: tokens of this issuer, signed with a key in this certificate. */
	readonly token?: { readonly realm: string; readonly service: string; readonly issuer: string; readonly certificate: string };
	/** https with a certificate for 127.0.0.1 and localhost that nobody has signed. */
	readonly tls?: boolean;
}

export interface TestRegistry {
	/** `127.0.0.1:PORT`. */
	readonly host: string;
	/** PEM file of the certificate authority, with `tls`. */
	readonly ca: string | undefined;
	/** Where it keeps its files (`docker/registry/v2/...` below). */
	readonly directory: string;
	stop(): Promise<void>;
}

/** Starts a registry; `stop` it in the test's teardown. */
export async function startRegistry(options: RegistryOptions = {}): Promise<TestRegistry> {
	const directory = mkdtempSync(path.join(tmpdir(), 'obd-test-registry-'));
	const port = await freePort();
	const ca = options.tls === true ? makeCertificate(directory, 'tls').certificate : undefined;
	const configFile = path.join(directory, 'config.yml');
	writeFileSync(configFile, JSON.stringify(registryConfig(directory, port, options)));
	// It ends with the test, also when that is killed before its teardown.
	const child = spawn('setpriv', ['--pdeathsig', 'KILL', 'docker-registry', 'serve', configFile], { stdio: ['ignore', 'ignore', 'pipe'] });
	let log = '';
	child.stderr.on('data', (chunk: Buffer) => {
		log = (log + chunk.toString('utf8')).slice(-8192);
	});
	try {
		await answers(child, `${ca === undefined ? 'http' : 'https'}://127.0.0.1:${port}/v2/`, () => log);
	} catch (error) {
		child.kill('SIGKILL');
		rmSync(directory, { recursive: true, force: true });
		throw error;
	}
	return { host: `127.0.0.1:${port}`, ca, directory, stop: () => stop(child, directory) };
}

/** A key and a certificate for 127.0.0.1 and localhost, signed by itself, as PEM files. */
export function makeCertificate(directory: string, name: string): { readonly key: string; readonly certificate: string } {
	const key = path.join(directory, `${name}.key`);
	const certificate = path.join(directory, `${name}.crt`);
	execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', `/CN=${name}`,
		'-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost', '-keyout', key, '-out', certificate], { stdio: 'ignore' });
	return { key, certificate };
}

export async function freePort(): Promise<number> {
	const server = net.createServer();
	await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
	const { port } = server.address() as net.AddressInfo;
	await new Promise((resolve) => server.close(resolve));
	return port;
}

/** YAML takes JSON. */
function registryConfig(directory: string, port: number, { basic, token, tls }: RegistryOptions): object {
	return {
		version: 0.1,
		log: { level: 'warn', accesslog: { disabled: true } },
		storage: { filesystem: { rootdirectory: directory }, delete: { enabled: true } },
		http: {
			addr: `127.0.0.1:${port}`, secret: 'test',
			...(tls === true && { tls: { certificate: path.join(directory, 'tls.crt'), key: path.join(directory, 'tls.key') } }),
		},
		...(basic && { auth: { htpasswd: { realm: 'test', path: writePasswords(directory, basic) } } }),
		...(token && { auth: { token: { realm: token.realm, service: token.service, issuer: token.issuer, rootcertbundle: token.certificate } } }),
	};
}

/** The registry only takes bcrypt, which `openssl passwd` does not make and the C library does. */
function writePasswords(directory: string, { username, password }: { readonly username: string; readonly password: string }): string {
	const hash = execFileSync('perl', ['-e', 'print crypt($ARGV[0], q($2b$05$abcdefghijklmnopqrstuu))', password], { encoding: 'utf8' });
	const file = path.join(directory, 'htpasswd');
	writeFileSync(file, `${username}:${hash}\n`);
	return file;
}

async function answers(child: ChildProcess, url: string, log: () => string): Promise<void> {
	for (let tries = 0; tries < 600; tries++) {
		if (child.exitCode !== null) throw new Error(`docker-registry ended with ${child.exitCode}: ${log()}`);
		if (await responds(url)) return;
		await new Promise((resolve) => setTimeout(resolve, 50));
	}
	throw new Error(`docker-registry does not answer at ${url}: ${log()}`);
}

function responds(url: string): Promise<boolean> {
	return new Promise((resolve) => {
		const client = url.startsWith('https:') ? https : http;
		const request = client.get(url, { rejectUnauthorized: false, agent: false }, (response) => {
			response.resume();
			resolve(true);
		});
		request.on('error', () => resolve(false));
	});
}

async function stop(child: ChildProcess, directory: string): Promise<void> {
	const ended = new Promise((resolve) => child.once('exit', resolve));
	if (child.exitCode === null && child.signalCode === null) {
		child.kill('SIGKILL');
		await ended;
	}
	rmSync(directory, { recursive: true, force: true });
}
