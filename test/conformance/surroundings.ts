// What the cases find around them: a registry with the base image, a web server that also serves git, an SSH agent.
import { execFileSync, spawn } from 'node:child_process';
import { createReadStream, mkdirSync, mkdtempSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { startRegistry } from '../integration/helpers/registry.js';
import { pushConformanceBase } from './base.js';
import type { RootFs } from './root-fs.js';

/** Where the cases say the registry and the web server are. */
const written = { registry: '127.0.0.1:5000', web: '127.0.0.1:8000' };

export interface Surroundings {
	/** Everything of the run is below it. */
	readonly directory: string;
	readonly registry: string;
	/** Served: `CASE/...` below it as http://WEB/CASE/.... */
	readonly webRoot: string;
	/** The base image's files, which expectations are written as a difference to. */
	readonly base: RootFs;
	readonly gitEnv: Readonly<Record<string, string>>;
	/** SSH_AUTH_SOCK of an agent that holds one key. */
	readonly agent: string;
	/** The cases' hosts to those of this run, and back. */
	substitute(text: string): string;
	restore(text: string): string;
	stop(): Promise<void>;
}

export async function startSurroundings(): Promise<Surroundings> {
	const directory = mkdtempSync(path.join(tmpdir(), 'obd-conformance-'));
	const webRoot = path.join(directory, 'web');
	mkdirSync(webRoot);
	const registry = await startRegistry();
	const base = await pushConformanceBase(registry.host);
	const server = http.createServer((request, response) => { serve(webRoot, request, response); });
	await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
	const web = `127.0.0.1:${(server.address() as net.AddressInfo).port}`;
	const agent = startAgent(directory);
	const replaced = (text: string, from: typeof written, to: typeof written): string => text.replaceAll(from.registry, to.registry).replaceAll(from.web, to.web);
	const here = { registry: registry.host, web };
	return {
		directory, webRoot, base, registry: registry.host, agent: agent.socket,
		gitEnv: gitEnvironment(directory),
		substitute: (text) => replaced(text, written, here),
		restore: (text) => replaced(text, here, written),
		stop: async () => {
			agent.stop();
			server.closeAllConnections();
			await new Promise((resolve) => server.close(resolve));
			await registry.stop();
			rmSync(directory, { recursive: true, force: true });
		},
	};
}

/** Commits made by a case have the same digest everywhere. */
function gitEnvironment(directory: string): Record<string, string> {
	const config = path.join(directory, 'gitconfig');
	writeFileSync(config, '[init]\n\tdefaultBranch = master\n[protocol "file"]\n\tallow = always\n[uploadpack]\n\tallowAnySHA1InWant = true\n[safe]\n\tdirectory = *\n');
	const date = '2024-02-03T04:05:06Z';
	return {
		GIT_CONFIG_GLOBAL: config, GIT_CONFIG_NOSYSTEM: '1',
		GIT_AUTHOR_NAME: 'A', GIT_AUTHOR_EMAIL: 'a@example.com', GIT_AUTHOR_DATE: date,
		GIT_COMMITTER_NAME: 'A', GIT_COMMITTER_EMAIL: 'a@example.com', GIT_COMMITTER_DATE: date,
	};
}

function startAgent(directory: string): { readonly socket: string; readonly stop: () => void } {
	const socket = path.join(directory, 'agent.sock');
	const output = execFileSync('ssh-agent', ['-a', socket], { encoding: 'utf8' });
	const key = path.join(directory, 'key');
	execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key]);
	execFileSync('ssh-add', ['-q', key], { env: { ...process.env, SSH_AUTH_SOCK: socket }, stdio: 'ignore' });
	const pid = Number(/SSH_AGENT_PID=(\d+)/.exec(output)?.[1]);
	return { socket, stop: () => { process.kill(pid); } };
}

/**
 * Files with a fixed modification time; below a `NAME.git`, git's smart protocol. `?status=N` answers with that status,
 * `?disposition=NAME` names the download.
 */
function serve(root: string, request: http.IncomingMessage, response: http.ServerResponse): void {
	const url = new URL(request.url ?? '/', 'http://web');
	const file = path.join(root, path.normalize(decodeURIComponent(url.pathname)));
	if (/\.git\//.test(url.pathname)) return serveGit(root, url, request, response);
	const status = url.searchParams.get('status');
	const stats = statSync(file, { throwIfNoEntry: false });
	if (status !== null || stats?.isFile() !== true) {
		response.writeHead(Number(status ?? 404)).end();
		return;
	}
	utimesSync(file, 1_500_000_000, 1_500_000_000);
	const disposition = url.searchParams.get('disposition');
	response.writeHead(200, {
		'content-length': stats.size,
		'last-modified': new Date(1_500_000_000_000).toUTCString(),
		...(disposition !== null && { 'content-disposition': `attachment; filename="${disposition}"` }),
	});
	if (request.method === 'HEAD') response.end();
	else createReadStream(file).pipe(response);
}

function serveGit(root: string, url: URL, request: http.IncomingMessage, response: http.ServerResponse): void {
	const child = spawn('git', ['http-backend'], {
		stdio: ['pipe', 'pipe', 'ignore'],
		env: {
			PATH: process.env['PATH'], ...gitEnvironment(path.dirname(root)),
			GIT_PROJECT_ROOT: root, GIT_HTTP_EXPORT_ALL: '1', PATH_INFO: decodeURIComponent(url.pathname), QUERY_STRING: url.search.slice(1), REQUEST_METHOD: request.method,
			CONTENT_TYPE: request.headers['content-type'], HTTP_CONTENT_ENCODING: request.headers['content-encoding'], GIT_PROTOCOL: request.headers['git-protocol'] as string | undefined,
		},
	});
	request.pipe(child.stdin).on('error', () => undefined);
	const chunks: Buffer[] = [];
	child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
	child.on('close', () => {
		const output = Buffer.concat(chunks);
		const end = output.indexOf('\r\n\r\n');
		const headers = Object.fromEntries(output.subarray(0, end).toString().split('\r\n').map((line) => line.split(/: (.*)/s).slice(0, 2) as [string, string]));
		const { Status: status = '200', ...rest } = headers;
		response.writeHead(Number.parseInt(status, 10), rest).end(output.subarray(end + 4));
	});
}
