// Git repositories and real servers for them: git's daemon, git's CGI program behind a login, an ssh daemon.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import path from 'node:path';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

export interface GitRepository {
	readonly directory: string;
	/** Runs git in it. */
	git(...args: readonly string[]): string;
	/** Writes files and commits them; the commit's name. */
	commit(files: Readonly<Record<string, string>>, message?: string): string;
}

const identity = ['-c', 'user.name=test', '-c', 'user.email=test@example.com', '-c', 'protocol.file.allow=always'];

/** A repository with a work tree, branch `main`. */
export function makeRepository(directory: string): GitRepository {
	mkdirSync(directory, { recursive: true });
	const git = (...args: readonly string[]): string => execFileSync('git', [...identity, '-C', directory, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim();
	git('init', '-q', '-b', 'main');
	return {
		directory,
		git,
		commit: (files, message = 'a commit') => {
			for (const [name, content] of Object.entries(files)) {
				mkdirSync(path.dirname(path.join(directory, name)), { recursive: true });
				writeFileSync(path.join(directory, name), content);
			}
			git('add', '-A');
			git('commit', '-q', '--allow-empty', '-m', message);
			return git('rev-parse', 'HEAD');
		},
	};
}

export interface GitServer {
	/** Without a slash at its end. */
	readonly url: string;
	stop(): Promise<void>;
}

/** git's own daemon for the repositories below a directory. */
export async function startGitDaemon(base: string): Promise<GitServer> {
	const port = await freePort();
	const child = spawn('setpriv', ['--pdeathsig', 'KILL', 'git', 'daemon', '--reuseaddr', '--export-all', `--base-path=${base}`, '--listen=127.0.0.1', `--port=${port}`], { stdio: 'ignore', detached: true });
	await listening(child, port);
	return { url: `git://127.0.0.1:${port}`, stop: () => stopGroup(child) };
}

/** The repositories over http, for those who send this Authorization header. */
export async function startGitHttp(base: string, authorization: string): Promise<GitServer> {
	const server = http.createServer((request, response) => {
		if (request.headers.authorization !== authorization) return void response.writeHead(401, { 'www-authenticate': 'Basic realm="git"' }).end();
		const url = new URL(request.url ?? '/', 'http://localhost');
		const cgi = spawn('git', ['http-backend'], {
			env: {
				PATH: process.env['PATH'], GIT_PROJECT_ROOT: base, GIT_HTTP_EXPORT_ALL: '1', REMOTE_USER: 'test', REMOTE_ADDR: '127.0.0.1',
				GIT_CONFIG_COUNT: '1', GIT_CONFIG_KEY_0: 'safe.directory', GIT_CONFIG_VALUE_0: '*',
				REQUEST_METHOD: request.method, PATH_INFO: url.pathname, QUERY_STRING: url.search.slice(1),
				CONTENT_TYPE: request.headers['content-type'], HTTP_CONTENT_ENCODING: request.headers['content-encoding'], GIT_PROTOCOL: request.headers['git-protocol'] as string | undefined,
			},
			stdio: ['pipe', 'pipe', 'ignore'],
		});
		request.pipe(cgi.stdin);
		const chunks: Buffer[] = [];
		cgi.stdout.on('data', (chunk: Buffer) => { chunks.push(chunk); });
		cgi.on('close', () => {
			const output = Buffer.concat(chunks);
			const end = output.indexOf('\r\n\r\n');
			const headers = Object.fromEntries(output.subarray(0, end).toString().split('\r\n').map((line) => line.split(': ') as [string, string]));
			response.writeHead(Number.parseInt(headers['Status'] ?? '200', 10), headers).end(output.subarray(end + 4));
		});
	});
	await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
	return {
		url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
		stop: async () => {
			server.closeAllConnections();
			await new Promise((resolve) => { server.close(resolve); });
		},
	};
}

export interface SshServer extends GitServer {
	/** Private key that may log in. */
	readonly key: string;
	/** Line for a known_hosts file. */
	readonly knownHost: string;
}

/** An ssh daemon on loopback that lets one new key in, as the user of the test. `directory` gets its files. */
export async function startSshServer(directory: string): Promise<SshServer> {
	mkdirSync(directory, { recursive: true });
	mkdirSync('/run/sshd', { recursive: true, mode: 0o755 });
	const file = (name: string): string => path.join(directory, name);
	for (const name of ['host', 'user']) execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', name, '-f', file(name)]);
	writeFileSync(file('authorized'), readFileSync(file('user.pub')));
	chmodSync(file('authorized'), 0o600);
	const port = await freePort();
	writeFileSync(file('config'), [
		`Port ${port}`, 'ListenAddress 127.0.0.1', `HostKey ${file('host')}`, `AuthorizedKeysFile ${file('authorized')}`, `PidFile ${file('pid')}`,
		'UsePAM no', 'StrictModes no', 'PasswordAuthentication no', 'PermitRootLogin prohibit-password', '',
	].join('\n'));
	const child = spawn('setpriv', ['--pdeathsig', 'KILL', '/usr/sbin/sshd', '-D', '-e', '-f', file('config')], { stdio: 'ignore', detached: true });
	await listening(child, port);
	const [type = '', key = ''] = readFileSync(file('host.pub'), 'utf8').split(' ');
	return { url: `ssh://${process.env['USER'] ?? 'root'}@127.0.0.1:${port}`, key: file('user'), knownHost: `[127.0.0.1]:${port} ${type} ${key}\n`, stop: () => stopGroup(child) };
}

async function freePort(): Promise<number> {
	const server = net.createServer();
	await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
	const { port } = server.address() as AddressInfo;
	await new Promise((resolve) => { server.close(resolve); });
	return port;
}

async function listening(child: ChildProcess, port: number): Promise<void> {
	let ended = false;
	child.once('exit', () => { ended = true; });
	for (;;) {
		if (ended) throw new Error(`the server for port ${port} has ended`);
		const socket = net.connect(port, '127.0.0.1');
		const [connected] = await Promise.race([once(socket, 'connect').then(() => [true]), once(socket, 'close').then(() => [false])]).catch(() => [false]);
		socket.destroy();
		if (connected) return;
		await sleep(20);
	}
}

async function stopGroup(child: ChildProcess): Promise<void> {
	if (child.exitCode !== null || child.signalCode !== null) return;
	const exit = once(child, 'exit');
	process.kill(-(child.pid ?? 0), 'SIGKILL');
	await exit;
}
