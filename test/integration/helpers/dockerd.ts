// A real docker daemon (Debian's docker.io) with everything it has below one directory of its own, which nobody else
// removes while it works; `stop` leaves nothing.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Dockerd {
	/** For DOCKER_HOST. */
	readonly address: string;
	/** Runs the docker client of the same package, with BuildKit. */
	docker(args: readonly string[]): Promise<{ readonly code: number | null; readonly output: string }>;
	stop(): Promise<void>;
}

const client = existsSync('/usr/bin/docker') ? '/usr/bin/docker' : 'docker';

/** Without networks of its own: containers have the host's. */
export async function startDockerd(): Promise<Dockerd> {
	const directory = await mkdtemp(path.join(tmpdir(), 'obd-dockerd-'));
	const socket = path.join(directory, 'docker.sock');
	const log = path.join(directory, 'dockerd.log');
	writeFileSync(path.join(directory, 'daemon.json'), '{}');
	const daemon = spawn('sh', ['-c', 'exec "$@" >"$0" 2>&1', log, 'setpriv', '--pdeathsig', 'TERM', 'dockerd',
		'--config-file', path.join(directory, 'daemon.json'), '--data-root', path.join(directory, 'data'), '--exec-root', path.join(directory, 'exec'),
		'--pidfile', path.join(directory, 'pid'), '--host', `unix://${socket}`, '--iptables=false', '--ip6tables=false', '--bridge=none'], { stdio: 'ignore' });
	const docker: Dockerd['docker'] = (args) => run(socket, args);
	await answers(daemon, docker, log);
	return {
		address: `unix://${socket}`,
		docker,
		stop: async () => {
			const ended = new Promise((resolve) => daemon.once('exit', resolve));
			daemon.kill('SIGTERM');
			if (daemon.exitCode === null) await ended;
			// What it leaves mounted when it is stopped while it works. The list of mounts may miss some while others come and go.
			for (let tries = 1; ; tries++) {
				spawnSync('sh', ['-c', 'grep -o " $0/[^ ]*" /proc/self/mountinfo | sort -r | xargs -r umount -l', directory]);
				try {
					rmSync(directory, { recursive: true, force: true });
					return;
				} catch (error) {
					if (tries === 200) throw error;
					await sleep(100);
				}
			}
		},
	};
}

function run(socket: string, args: readonly string[]): ReturnType<Dockerd['docker']> {
	return new Promise((resolve, reject) => {
		const child = spawn(client, args, { env: { ...process.env, DOCKER_HOST: `unix://${socket}`, DOCKER_BUILDKIT: '1' }, stdio: ['ignore', 'pipe', 'pipe'] });
		let output = '';
		const add = (chunk: Buffer): void => { output += chunk.toString(); };
		child.stdout.on('data', add);
		child.stderr.on('data', add);
		child.once('error', reject);
		child.once('close', (code) => { resolve({ code, output }); });
	});
}

async function answers(daemon: ChildProcess, docker: Dockerd['docker'], log: string): Promise<void> {
	for (;;) {
		if ((await docker(['version'])).code === 0) return;
		if (daemon.exitCode !== null) throw new Error(`dockerd ended: ${readFileSync(log, 'utf8').slice(-2000)}`);
		await sleep(100);
	}
}
