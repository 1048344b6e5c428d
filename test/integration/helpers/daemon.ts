// obd-buildd on a store of the test's own, and real clients of it.
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { RpcClient } from '../../../src/grpc/index.js';
import { startObdBuildd, type ProgramResult, type RunningProgram, type TestStore } from './obd.js';

/** Where Debian's package has it; it is a program as well as a plugin. */
const buildx = '/usr/libexec/docker/cli-plugins/docker-buildx';

export interface TestDaemon {
	/** `unix://...` */
	readonly address: string;
	readonly program: RunningProgram;
	/** Runs `docker buildx ARGS` on this daemon. */
	buildx(args: readonly string[], options?: ClientOptions): Promise<ProgramResult>;
	/** A connection for calls of the test's own. */
	connect(): RpcClient;
	/** SIGTERM, and waits for the end. */
	stop(): Promise<ProgramResult>;
}

export interface ClientOptions {
	readonly env?: Readonly<Record<string, string>>;
	readonly stdin?: Buffer;
	readonly cwd?: string;
	readonly signal?: AbortSignal;
}

/** Starts the daemon on a socket of its own; stop it in the test's teardown. */
export async function startDaemon(store: TestStore, flags: readonly string[] = []): Promise<TestDaemon> {
	const directory = await mkdtemp(path.join(tmpdir(), 'obd-daemon-'));
	const socket = path.join(directory, 'buildd.sock');
	const address = `unix://${socket}`;
	const program = startObdBuildd(store, ['--addr', address, ...flags]);
	await program.seen(/running server on/);
	const env = { PATH: process.env['PATH'] ?? '', HOME: directory, BUILDX_CONFIG: path.join(directory, 'buildx') };
	const daemon: TestDaemon = {
		address,
		program,
		buildx: (args, options = {}) => run(buildx, args, { ...options, env: { ...env, ...options.env } }),
		connect: () => new RpcClient(net.connect(socket)),
		stop: async () => {
			program.kill('SIGTERM');
			const result = await program.ended;
			await rm(directory, { recursive: true, force: true });
			return result;
		},
	};
	await succeed(daemon.buildx(['create', '--name', 'obd', '--driver', 'remote', '--use', address]));
	return daemon;
}

/** The result of a program that is to succeed; throws its output otherwise. */
export async function succeed(running: Promise<ProgramResult>): Promise<ProgramResult> {
	const result = await running;
	if (result.code !== 0) throw new Error(`the client ended with ${result.code ?? result.signal}:\n${result.stdout}${result.stderr}`);
	return result;
}

function run(program: string, args: readonly string[], { env, stdin, cwd, signal }: ClientOptions): Promise<ProgramResult> {
	return new Promise((resolve) => {
		const child = execFile(program, args, { env, ...(cwd !== undefined && { cwd }), ...(signal && { signal }), maxBuffer: 64 * 1024 * 1024 }, (_error, stdout, stderr) => {
			resolve({ code: child.exitCode, signal: child.signalCode, stdout, stderr });
		});
		child.stdin?.on('error', () => undefined); // it may not want it
		child.stdin?.end(stdin);
	});
}
