// Runs the git program: no configuration of this host, no prompts, no local protocol for submodules, its output
// in the build's log, and nothing of it left when the build is cancelled.
import { spawn } from 'node:child_process';
import { devNull } from 'node:os';

/** How long a cancelled git may take to end before it is killed. */
const patienceMs = 10_000;
const maxOutput = 64 * 1024 * 1024;
const proxyVariables = ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY', 'ALL_PROXY', 'http_proxy', 'https_proxy', 'no_proxy', 'all_proxy'];

export interface GitOptions {
	readonly signal: AbortSignal;
	readonly gitDir?: string;
	readonly workTree?: string;
	/** Configuration that no other process is to see: credentials for the remote. */
	readonly settings?: readonly (readonly [name: string, value: string])[];
	readonly sshAuthSock?: string;
	readonly sshKnownHosts?: string;
	readonly onOutput: (stream: 1 | 2, data: Uint8Array) => void;
}

/** git ended with an error; `stderr` is in the message. */
export class GitError extends Error {
	override readonly name = 'GitError';

	constructor(readonly stderr: string, status: string) {
		super(`git stderr:\n${stderr}: ${status}`);
	}
}

export class Git {
	constructor(private readonly options: GitOptions) {}

	/** The same with other directories. */
	with(options: Pick<GitOptions, 'gitDir' | 'workTree'>): Git {
		return new Git({ ...this.options, ...options });
	}

	/** Runs git and returns what it printed. A server that cannot do shallow, or a commit by name, is asked for more. */
	async run(...args: readonly string[]): Promise<string> {
		for (let current = args; ;) {
			try {
				return await this.#once(current);
			} catch (error) {
				const simpler = error instanceof GitError ? withoutRefused(current, error.stderr) : current;
				if (simpler.length === current.length) throw error;
				current = simpler;
			}
		}
	}

	async #once(args: readonly string[]): Promise<string> {
		const { signal, gitDir, workTree, onOutput } = this.options;
		signal.throwIfAborted();
		const command = [
			// No repository of this host as a submodule, and nothing a repository brings is ever run.
			'-c', 'protocol.file.allow=user', '-c', `core.hooksPath=${devNull}`, '-c', 'core.fsmonitor=false',
			...(workTree === undefined ? [] : ['--work-tree', workTree]),
			...(gitDir === undefined ? [] : ['--git-dir', gitDir]),
			...args,
		];
		// A shell sets the umask, which a process of many threads must not do for itself.
		const child = spawn('/bin/sh', ['-c', 'umask 0022; exec git "$@"', 'git', ...command], {
			...(workTree !== undefined && { cwd: workTree }),
			env: this.#environment(),
			stdio: ['ignore', 'pipe', 'pipe'],
			detached: true, // a process group, so that its helpers end with it
		});
		const output = { 1: [] as Buffer[], 2: [] as Buffer[] };
		let size = 0;
		for (const [stream, pipe] of [[1, child.stdout], [2, child.stderr]] as const) {
			pipe.on('data', (data: Buffer) => {
				onOutput(stream, data);
				size += data.length;
				if (size <= maxOutput) output[stream].push(data);
			});
		}
		const kill = (name: NodeJS.Signals): void => {
			try {
				if (child.pid !== undefined) process.kill(-child.pid, name);
			} catch {
				// It has ended.
			}
		};
		let timer: NodeJS.Timeout | undefined;
		const stop = (): void => {
			kill('SIGTERM');
			timer = setTimeout(() => { kill('SIGKILL'); }, patienceMs);
		};
		signal.addEventListener('abort', stop, { once: true });
		try {
			const status = await new Promise<string>((resolve, reject) => {
				child.once('error', reject);
				child.once('close', (code, name) => { resolve(code === 0 ? '' : code === null ? `signal: ${name ?? 'unknown'}` : `exit status ${code}`); });
			});
			signal.throwIfAborted();
			if (status === 'exit status 127') throw new Error('failed to find git binary: install git where obd runs');
			if (status !== '') throw new GitError(Buffer.concat(output[2]).toString(), status);
			if (size > maxOutput) throw new Error(`git ${args[0] ?? ''} printed more than ${maxOutput} bytes`);
			return Buffer.concat(output[1]).toString();
		} finally {
			clearTimeout(timer);
			signal.removeEventListener('abort', stop);
		}
	}

	#environment(): Record<string, string> {
		const { sshAuthSock, sshKnownHosts, settings = [] } = this.options;
		const hosts = sshKnownHosts === undefined ? '-o StrictHostKeyChecking=no' : `-o UserKnownHostsFile=${sshKnownHosts}`;
		return {
			PATH: process.env['PATH'] ?? '',
			GIT_TERMINAL_PROMPT: '0',
			GIT_SSH_COMMAND: `ssh -F ${devNull} ${hosts}`,
			LC_ALL: 'C',
			GIT_CONFIG_NOSYSTEM: '1',
			HOME: devNull,
			GIT_CONFIG_GLOBAL: devNull,
			...Object.fromEntries(proxyVariables.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]]))),
			...(sshAuthSock !== undefined && { SSH_AUTH_SOCK: sshAuthSock }),
			GIT_CONFIG_COUNT: String(settings.length),
			...Object.fromEntries(settings.flatMap(([name, value], i) => [[`GIT_CONFIG_KEY_${i}`, name], [`GIT_CONFIG_VALUE_${i}`, value]])),
		};
	}
}

export function isCommit(text: string): boolean {
	return /^(?:[a-f0-9]{40}|[a-f0-9]{64})$/.test(text);
}

/** The arguments without what the server has just refused; as they are when that is something else. */
function withoutRefused(args: readonly string[], stderr: string): readonly string[] {
	const withoutDepth = args.filter((arg) => arg !== '--depth=1');
	if (/--depth|shallow/.test(stderr) && withoutDepth.length < args.length) return withoutDepth;
	const last = args.at(-1) ?? '';
	return /not our ref|unadvertised object/.test(stderr) && args.length > 2 && args[0] === 'fetch' && isCommit(last) ? args.slice(0, -1) : args;
}
