// Lends an SSH agent, or keys, to a container: a socket of its own that passes on what a login needs (listing
// keys, signing) and refuses what would change the agent, as BuildKit's client does.
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmod, chown, open, readFile, rm, stat } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import type { Duplex } from 'node:stream';
import type { SshSocket, SshSocketOptions } from './index.js';

/** Requests of the agent protocol (draft-miller-ssh-agent) that only read. */
const allowed: ReadonlySet<number> = new Set([11, 13]); // SSH_AGENTC_REQUEST_IDENTITIES, SSH_AGENTC_SIGN_REQUEST
const failure = Buffer.from([0, 0, 0, 1, 5]); // SSH_AGENT_FAILURE
/** OpenSSH's own limit of a message. */
const maxMessage = 256 * 1024;
const maxKeyBytes = 100 * 1024;
/** What `sun_path` holds, with the byte that ends it. */
const maxSocketPath = 108;

/** A socket to the agent at `paths[0]`, or to one that holds the keys in these files. Throws what is wrong with them. */
export async function lendAgent(paths: readonly string[], options: SshSocketOptions): Promise<SshSocket> {
	const agent = await agentOf(paths, options.dir);
	try {
		const socket = await relayAgent(() => net.connect(agent.path), options);
		return { path: socket.path, close: async () => { await socket.close(); await agent.close(); } };
	} catch (error) {
		await agent.close();
		throw error;
	}
}

async function agentOf(paths: readonly string[], dir: string): Promise<SshSocket> {
	const kinds = await Promise.all(paths.map(async (file) => ((await statOf(file)).isSocket() ? 'socket' : 'key')));
	const [first] = paths;
	if (first === undefined) throw new Error('invalid empty ssh agent socket');
	if (!kinds.includes('socket')) return keyAgent(paths, dir);
	if (kinds.includes('key')) throw new Error('invalid combination of keys and sockets');
	if (paths.length > 1) throw new Error('only single socket allowed');
	return { path: first, close: () => Promise.resolve() };
}

async function statOf(file: string): ReturnType<typeof stat> {
	return stat(file).catch((error: NodeJS.ErrnoException) => {
		throw new Error(`stat ${file}: ${error.code === 'ENOENT' ? 'no such file or directory' : error.message}`, { cause: error });
	});
}

/** OpenSSH's ssh-agent with these keys. Should we be killed, it sees the end of the process it is tied to, whose input is a pipe of ours. */
async function keyAgent(files: readonly string[], dir: string): Promise<SshSocket> {
	const socket = path.join(dir, `agent-${randomBytes(6).toString('hex')}`);
	const child = spawn('ssh-agent', ['-a', socket, 'sh', '-c', 'echo "$SSH_AGENT_PID"; exec cat >/dev/null'], { stdio: ['pipe', 'pipe', 'pipe'] });
	let agent = 0;
	const close = async (): Promise<void> => {
		try {
			if (agent > 0) process.kill(agent, 'SIGTERM');
		} catch {
			// It has ended already.
		}
		child.stdin.end();
		if (child.exitCode === null && child.signalCode === null && child.pid !== undefined) await once(child, 'exit');
		await rm(socket, { force: true });
	};
	child.stdin.on('error', () => undefined); // it has ended, and says why elsewhere
	try {
		agent = await started(child, 'ssh-agent');
		for (const file of files) await addKey(file, socket);
		return { path: socket, close };
	} catch (error) {
		await close();
		throw error;
	}
}

/** Resolves with the agent's process id, which it prints when its socket is there. */
async function started(child: ChildProcess, program: string): Promise<number> {
	let complaint = '';
	child.stderr?.setEncoding('utf8').on('data', (text: string) => { complaint += text; });
	return new Promise((resolve, reject) => {
		child.once('error', (error) => { reject(new Error(`${program} cannot be run (package openssh-client): ${error.message}`)); });
		child.once('close', () => { reject(new Error(`${program}: ${complaint.trim()}`)); });
		child.stdout?.once('data', (line: Buffer) => { resolve(Number(line.toString())); });
	});
}

/** Over stdin, so that neither the file's mode nor a passphrase prompt comes into it. */
async function addKey(file: string, socket: string): Promise<void> {
	const key = await readFile(file);
	if (key.length > maxKeyBytes) throw new Error(`failed to parse ${file}: ${key.length} bytes is too much for a key`);
	const child = spawn('ssh-add', ['-q', '-'], { stdio: ['pipe', 'ignore', 'pipe'], env: { PATH: process.env['PATH'], SSH_AUTH_SOCK: socket, SSH_ASKPASS_REQUIRE: 'never' } });
	let complaint = '';
	child.stderr.setEncoding('utf8').on('data', (text: string) => { complaint += text; });
	child.stdin.on('error', () => undefined); // its exit says it all
	child.stdin.end(key);
	const [code] = (await once(child, 'close')) as [number | null];
	if (code !== 0) throw new Error(`failed to parse ${file}: ${complaint.trim().replaceAll('(stdin)', file) || 'not a private key without a passphrase'}`);
}

/** A listening socket whose connections go where `connect` leads. */
export async function relayAgent(connect: () => Duplex, { dir, uid, gid, mode }: SshSocketOptions): Promise<SshSocket> {
	const name = `ssh-${randomBytes(6).toString('hex')}`;
	const file = path.join(dir, name);
	const connections = new Set<Duplex>();
	const server = net.createServer((client) => {
		const agent = connect();
		for (const [socket, other] of [[client, agent], [agent, client]] as const) {
			connections.add(socket);
			socket.on('error', () => { other.destroy(); });
			socket.on('close', () => { connections.delete(socket); other.destroy(); });
		}
		filterRequests(client, agent);
		agent.pipe(client);
	});
	await listen(server, dir, name);
	const close = async (): Promise<void> => {
		for (const socket of connections) socket.destroy();
		await new Promise<void>((resolve) => { server.close(() => { resolve(); }); });
		await rm(file, { force: true });
	};
	try {
		await chown(file, uid, gid);
		await chmod(file, mode);
		return { path: file, close };
	} catch (error) {
		await close();
		throw error;
	}
}

/** A path longer than a socket address is reached through the directory's descriptor. */
async function listen(server: net.Server, dir: string, name: string): Promise<void> {
	const direct = path.join(dir, name);
	const handle = Buffer.byteLength(direct) < maxSocketPath ? undefined : await open(dir);
	try {
		await new Promise<void>((resolve, reject) => {
			server.once('error', reject);
			server.listen(handle ? `/proc/self/fd/${handle.fd}/${name}` : direct, resolve);
		});
	} finally {
		await handle?.close();
	}
}

/** Passes on whole messages of the kinds that are allowed, and answers the others itself. */
function filterRequests(client: Duplex, agent: Duplex): void {
	let pending: Buffer = Buffer.alloc(0);
	client.on('data', (chunk: Buffer) => {
		pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
		while (pending.length >= 5) {
			const size = pending.readUInt32BE(0);
			if (size === 0 || size > maxMessage) {
				client.destroy();
				return;
			}
			if (pending.length < 4 + size) return;
			const message = pending.subarray(0, 4 + size);
			pending = pending.subarray(4 + size);
			if (allowed.has(message[4] ?? 0)) agent.write(message);
			else client.write(failure);
		}
	});
	client.on('end', () => { agent.end(); });
}
