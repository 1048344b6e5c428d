// Real containers through runc on a busybox root. Needs root, runc and busybox-static.
import { spawn } from 'node:child_process';
import { access, lstat, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import anyTest, { type TestFn } from 'ava';
import { mount, readMounts } from '../../src/native/system.js';
import { ExitError, recoverContainers, Runtime, type ContainerProcess, type ContainerSpec, type RunningContainer } from '../../src/runtime/index.js';
import { layoutOf } from '../../src/runtime/layout.js';
import { makeBusyboxRootfs } from './busybox-rootfs.js';

interface Context {
	dir: string;
	rootfs: string;
	runtime: Runtime;
}

const test = anyTest as TestFn<Context>;

test.beforeEach(async (t) => {
	const dir = await mkdtemp(path.join(tmpdir(), 'obd-runtime-'));
	const rootfs = path.join(dir, 'rootfs');
	await makeBusyboxRootfs(rootfs);
	t.context = { dir, rootfs, runtime: new Runtime(path.join(dir, 'instance')) };
});

test.afterEach.always(async (t) => {
	await t.context.runtime.close();
	t.deepEqual(await cgroupsOf(path.join(t.context.dir, 'instance')), []);
	t.deepEqual(await readdir(path.join(t.context.dir, 'instance')).catch(() => []), []);
	await rm(t.context.dir, { recursive: true, force: true });
});

interface Outcome {
	readonly stdout: string;
	readonly stderr: string;
	readonly error?: Error;
}

async function run(context: Context, command: string | readonly string[], options: Partial<ContainerSpec> = {}): Promise<Outcome> {
	const output: [string, string] = ['', ''];
	try {
		await context.runtime.run({
			rootfs: context.rootfs,
			args: typeof command === 'string' ? ['/bin/sh', '-c', command] : command,
			env: ['PATH=/bin'],
			cwd: '/',
			user: '',
			mounts: [],
			network: 'none',
			security: 'sandbox',
			extraHosts: [],
			ulimits: [],
			removeMountStubsRecursive: true,
			onOutput: (stream, data) => { output[stream - 1] += Buffer.from(data).toString(); },
			...options,
		});
		return { stdout: output[0], stderr: output[1] };
	} catch (error) {
		return { stdout: output[0], stderr: output[1], error: error as Error };
	}
}

/** Cgroup directories of an instance, in all hierarchies. */
async function cgroupsOf(instance: string): Promise<readonly string[]> {
	const name = layoutOf(instance).cgroup;
	const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').filter((line) => / - cgroup2? /.test(line)).map((line) => line.split(' ')[4] ?? '');
	const found: string[] = [];
	for (const mount of mounts) {
		if (await access(path.join(mount, name)).then(() => true, () => false)) found.push(path.join(mount, name));
	}
	return found;
}

const exists = (file: string): Promise<boolean> => lstat(file).then(() => true, () => false);

test('output, environment and working directory', async (t) => {
	const { stdout, stderr, error } = await run(t.context, 'echo "$A-$B"; pwd; stat -c %u:%g:%a . ..; echo oops >&2', {
		env: ['PATH=/bin', 'A=1', 'B=2', 'A=3'],
		cwd: '/made/here',
		user: 'app',
	});
	t.is(error, undefined);
	t.is(stdout, '3-2\n/made/here\n1000:1001:755\n1000:1001:755\n');
	t.is(stderr, 'oops\n');
});

test('a process reads what is written to it', async (t) => {
	const { stdout, error } = await run(t.context, 'read a; echo "got $a"; cat', {
		input: 'pipe',
		onStart: ({ input }) => { input?.end('one\ntwo\nthree\n'); },
	});
	t.is(error, undefined);
	t.is(stdout, 'got one\ntwo\nthree\n');
});

test('a terminal: it echoes, has a size that changes, and sends signals', async (t) => {
	let process: ContainerProcess | undefined;
	let seen = '';
	const { error } = await run(t.context, 'trap "stty size; exit 3" WINCH; test -t 0 -a -t 2 && echo ready; while :; do sleep 0.05; done', {
		input: 'terminal',
		onStart: (started) => { process = started; },
		onOutput: (stream, data) => {
			t.is(stream, 1);
			seen += Buffer.from(data).toString();
			if (seen.includes('ready')) process?.resize(33, 77);
		},
	});
	t.regex(seen, /ready\r\n33 77\r\n$/);
	t.is((error as ExitError).exitCode, 3);
});

test('other processes join a container, signals reach them, and they end with it', async (t) => {
	const outputs: string[] = [];
	const others: Promise<unknown>[] = [];
	const join = (container: RunningContainer, command: string, onStart: (process: ContainerProcess) => void = () => undefined): void => {
		const number = outputs.push('') - 1;
		others.push(container.exec({
			args: ['/bin/sh', '-c', command], env: ['PATH=/bin'], cwd: '/', user: 'app', security: 'sandbox', onStart,
			onOutput: (_stream, data) => { outputs[number] += Buffer.from(data).toString(); },
		}).then(() => 'ended', (error: unknown) => error));
	};
	let first: RunningContainer | undefined;
	const { error } = await run(t.context, 'trap "exit 7" TERM; echo up; while :; do sleep 0.05; done', {
		onStart: (container) => {
			first = container;
			join(container, 'id -u; cat /proc/1/cmdline | tr "\\0" " " | cut -c1-10');
			join(container, 'trap "exit 9" USR1; echo listening; while :; do sleep 0.05; done', (process) => {
				const until = setInterval(() => {
					if (outputs[1] !== 'listening\n') return;
					clearInterval(until);
					process.kill(10);
					void Promise.all(others.slice(0, 2)).then(() => { container.kill(15); });
				}, 10);
			});
			join(container, 'sleep 1000');
		},
	});
	t.truthy(first);
	t.is((error as ExitError).exitCode, 7);
	const [id, signalled, left] = await Promise.all(others);
	t.is(id, 'ended');
	t.is(outputs[0], '1000\n/bin/sh -c\n');
	t.is((signalled as ExitError).exitCode, 9);
	t.true(left instanceof Error);
	await t.throwsAsync(first!.exec({ args: ['/bin/true'], env: [], cwd: '/', user: '', security: 'sandbox' }), { message: /the container has ended$/ });
});

test('a working directory behind a symlink stays inside the root', async (t) => {
	await symlink('/../../../../escape', path.join(t.context.rootfs, 'link'));
	const { stdout } = await run(t.context, 'pwd -P', { cwd: '/link/x' });
	t.is(stdout, '/escape/x\n');
	t.true((await stat(path.join(t.context.rootfs, 'escape/x'))).isDirectory());
});

test('much output arrives whole and in order', async (t) => {
	const { stdout } = await run(t.context, 'seq 1 200000');
	t.is(stdout, Array.from({ length: 200000 }, (_, i) => `${i + 1}\n`).join(''));
});

test('output of the last moment is not lost to a background process', async (t) => {
	const { stdout } = await run(t.context, 'sleep 60 & echo done');
	t.is(stdout, 'done\n');
});

test('users and groups', async (t) => {
	t.is((await run(t.context, 'id')).stdout, 'uid=0(root) gid=0(root) groups=0(root)\n');
	t.is((await run(t.context, 'id', { user: 'app' })).stdout, 'uid=1000(app) gid=1001(app) groups=10(wheel),1001(app)\n');
	t.is((await run(t.context, 'id -u; id -g', { user: '7:8' })).stdout, '7\n8\n');
	const { error } = await run(t.context, 'true', { user: 'nosuch' });
	t.is(error?.message, 'process "/bin/sh -c true" did not complete successfully: unable to find user nosuch: no matching entries in passwd file');
});

test('passwd is read inside the root, whatever it links to', async (t) => {
	await rm(path.join(t.context.rootfs, 'etc/passwd'));
	await symlink('/../../../../../etc/real', path.join(t.context.rootfs, 'etc/passwd'));
	await writeFile(path.join(t.context.rootfs, 'etc/real'), 'inside:x:77:78::/:\n');
	t.is((await run(t.context, 'id -u', { user: 'inside' })).stdout, '77\n');
});

test('capabilities and seccomp of a sandbox', async (t) => {
	const { stdout } = await run(t.context, 'grep -E "^(CapEff|CapBnd|CapInh|CapAmb|NoNewPrivs|Seccomp):" /proc/self/status; unshare -n true || echo refused');
	t.is(stdout, 'CapInh:\t0000000000000000\nCapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t2\nrefused\n');
});

test('insecure steps can do what the builder can', async (t) => {
	const { stdout, error } = await run(t.context, 'mkdir /mnt && mount -t tmpfs t /mnt && umount /mnt && grep Seccomp: /proc/self/status; ls /dev/loop-control /dev/loop7', { security: 'insecure' });
	t.is(error, undefined);
	t.is(stdout, 'Seccomp:\t0\n/dev/loop-control\n/dev/loop7\n');
	t.is((await run(t.context, 'mkdir /mnt2; mount -t tmpfs t /mnt2 || echo refused')).stdout, 'refused\n');
});

test('networks', async (t) => {
	const interfaces = async (network: ContainerSpec['network']): Promise<string> => (await run(t.context, 'ls /sys/class/net', { network })).stdout;
	const host = (await readdir('/sys/class/net')).join('\n');
	t.is(await interfaces('host'), `${host}\n`);
	t.is(await interfaces('default'), `${host}\n`);
	const { stdout } = await run(t.context, 'ip -o addr | grep -c .; ip link show lo | grep -o LOOPBACK,UP', { network: 'none' });
	t.regex(stdout, /^[12]\nLOOPBACK,UP\n$/);
});

test('hosts, hostname and resolv.conf, which leave no trace in the root', async (t) => {
	const before = await stat(path.join(t.context.rootfs, 'etc'));
	const { stdout } = await run(t.context, 'hostname; cat /etc/hosts; grep -c nameserver /etc/resolv.conf; echo x >> /etc/hosts || true', {
		hostname: 'other',
		extraHosts: [{ host: 'registry', ip: '10.1.2.3' }],
	});
	t.regex(stdout, /^other\n127\.0\.0\.1\tlocalhost other\n::1\tlocalhost ip6-localhost ip6-loopback\n10\.1\.2\.3\tregistry\n[1-9]\n$/);
	t.deepEqual((await readdir(path.join(t.context.rootfs, 'etc'))).sort(), ['group', 'passwd']);
	t.is((await stat(path.join(t.context.rootfs, 'etc'))).mtimeMs, before.mtimeMs);
	t.is((await run(t.context, 'hostname')).stdout, 'buildkitsandbox\n');
});

test('an image\'s own hosts file is back after the step', async (t) => {
	await writeFile(path.join(t.context.rootfs, 'etc/hosts'), 'mine\n');
	t.regex((await run(t.context, 'cat /etc/hosts')).stdout, /buildkitsandbox/);
	t.is(await readFile(path.join(t.context.rootfs, 'etc/hosts'), 'utf8'), 'mine\n');
});

test('what the kernel mounts', async (t) => {
	const { stdout } = await run(t.context, 'grep -E " (/proc|/sys|/dev|/dev/shm|/dev/pts|/dev/mqueue|/sys/fs/cgroup) " /proc/mounts | cut -d" " -f2,3 | sort | uniq; grep " /sys " /proc/mounts | grep -c " ro,"; ls /run 2>&1; head -c1 /proc/kcore | wc -c; ls -d /proc /sys /dev');
	t.is(stdout, '/dev tmpfs\n/dev/mqueue mqueue\n/dev/pts devpts\n/dev/shm tmpfs\n/proc proc\n/sys sysfs\n/sys/fs/cgroup tmpfs\n1\nls: /run: No such file or directory\n0\n/dev\n/proc\n/sys\n'.replace('/sys/fs/cgroup tmpfs', stdout.includes('/sys/fs/cgroup cgroup2') ? '/sys/fs/cgroup cgroup2' : '/sys/fs/cgroup tmpfs'));
	t.deepEqual((await readdir(t.context.rootfs)).filter((name) => ['proc', 'sys', 'dev', 'run'].includes(name)).sort(), ['dev', 'proc', 'sys']);
});

test('mounts, and their stubs', async (t) => {
	const { dir, rootfs } = t.context;
	await mkdir(path.join(dir, 'shared/sub'), { recursive: true });
	await writeFile(path.join(dir, 'shared/f'), 'from outside');
	await mkdir(path.join(rootfs, 'opt'));
	await utimes(path.join(rootfs, 'opt'), 1000, 1000);
	const { stdout, error } = await run(t.context, 'cat /opt/a/b/f /one/file; echo x > /opt/a/b/new; echo x > /ro/x || echo read-only; df -k /tmpfs | tail -1 | awk "{print \\$2}"; touch /tmpfs/y; df -k /dev/shm | tail -1 | awk "{print \\$2}"; touch /kept/z', {
		mounts: [
			{ destination: '/dev/shm', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'size=131072'] },
			{ destination: '/one/file', type: 'bind', source: path.join(dir, 'shared/f'), options: ['rbind', 'ro'] },
			{ destination: '/opt/a/b', type: 'bind', source: path.join(dir, 'shared'), options: ['rbind', 'rw'] },
			{ destination: '/opt/a/b/nested', type: 'tmpfs', source: 'tmpfs', options: [] },
			{ destination: '/ro', type: 'bind', source: path.join(dir, 'shared'), options: ['rbind', 'ro'] },
			{ destination: '/tmpfs', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'size=65536'] },
		],
	});
	t.regex(error?.message ?? '', /exit code: 1$/);
	t.is(stdout, 'from outsidefrom outsideread-only\n64\n128\n');
	t.is(await readFile(path.join(dir, 'shared/new'), 'utf8'), 'x\n');
	for (const gone of ['opt/a', 'one', 'ro', 'tmpfs']) t.false(await exists(path.join(rootfs, gone)), gone);
	t.is((await stat(path.join(rootfs, 'opt'))).mtimeMs, 1000_000);
});

test('a stub that the step filled stays', async (t) => {
	const { rootfs } = t.context;
	// Parents stay without removeMountStubsRecursive.
	await run(t.context, 'true', { removeMountStubsRecursive: false, mounts: [{ destination: '/p/q', type: 'tmpfs', source: 'tmpfs', options: [] }] });
	t.true(await exists(path.join(rootfs, 'p')));
	t.false(await exists(path.join(rootfs, 'p/q')));
	await run(t.context, 'echo > /r/mine', { mounts: [{ destination: '/r/s', type: 'tmpfs', source: 'tmpfs', options: [] }] });
	t.true(await exists(path.join(rootfs, 'r/mine')));
	t.false(await exists(path.join(rootfs, 'r/s')));
});

test('a read-only root', async (t) => {
	t.is((await run(t.context, 'echo > /x || echo refused', { readonlyRootfs: true })).stdout, 'refused\n');
});

test('ulimits', async (t) => {
	t.is((await run(t.context, 'ulimit -Sn; ulimit -Hn', { ulimits: [{ name: 'nofile', soft: 100, hard: 200 }] })).stdout, '100\n200\n');
	t.regex((await run(t.context, 'ulimit -Sn; ulimit -Hf', { ulimits: [{ name: 'fsize', soft: -1, hard: -1 }] })).stdout, /^1024\nunlimited\n$/);
});

test('exit codes', async (t) => {
	const code = async (command: string | string[], valid: number[] = []): Promise<number | string> => {
		const { error } = await run(t.context, command, { validExitCodes: valid });
		return error instanceof ExitError ? error.exitCode : error?.message ?? 'ok';
	};
	t.is(await code('exit 3'), 3);
	t.is(await code('exit 3', [0, 3]), 'ok');
	t.is(await code('true', [3]), 0);
	t.is(await code('nosuchcommand'), 127);
	t.is(await code('sleep 10 & kill -TERM $!; wait $!'), 143);
	t.is(await code(['/nosuch']), 1);
	const { stderr } = await run(t.context, ['/nosuch']);
	t.regex(stderr, /exec: "\/nosuch": stat \/nosuch: no such file or directory/);
});

test('abort kills every process of the container at once', async (t) => {
	const abort = new AbortController();
	const marker = `87${process.pid}`;
	const running = run(t.context, `(trap "" TERM INT; sleep ${marker}) & trap "" TERM INT; echo up; sleep ${marker}`, {
		signal: abort.signal,
		onOutput: () => { abort.abort(new Error('stopped')); },
	});
	t.is((await running).error?.message, 'stopped');
	t.deepEqual(await processesWith(marker), []);
	t.is((await run(t.context, 'true', { signal: AbortSignal.abort(new Error('before')) })).error?.message, 'before');
});

test('abort in every phase of a start leaves nothing', async (t) => {
	for (let delay = 0; delay < 40; delay += 2) {
		const abort = new AbortController();
		setTimeout(() => { abort.abort(new Error('stopped')); }, delay);
		const { error } = await run(t.context, 'sleep 30', { signal: abort.signal });
		t.is(error?.message, 'stopped', `after ${delay} ms`);
	}
	t.deepEqual(await readdir(path.join(t.context.dir, 'instance/runc')), []);
	t.deepEqual(await readdir(path.join(t.context.dir, 'instance/bundles')), []);
	for (const cgroup of await cgroupsOf(path.join(t.context.dir, 'instance'))) {
		const below = (await readdir(cgroup, { withFileTypes: true })).filter((entry) => entry.isDirectory());
		t.deepEqual(below, [], cgroup);
	}
});

/** What runc does for a moment when it starts a process, in the state of the instance's only container. */
async function mountProgram(instance: string): Promise<string> {
	const { runcRoot } = layoutOf(instance);
	const [id = ''] = await readdir(runcRoot);
	const program = path.join(runcRoot, id, 'runc.XXXXXX');
	await writeFile(program, '');
	await mount('/bin/busybox', program, '', 'bind');
	return program;
}

async function isMountPoint(target: string): Promise<boolean> {
	return (await readMounts()).some(({ mountPoint }) => mountPoint === target);
}

for (const [how, expected] of [['ends', undefined], ['fails', /exit code: 3$/], ['is aborted', /^stopped$/]] as const) {
	test(`what a killed runc has mounted goes with its container, which ${how}`, async (t) => {
		const instance = path.join(t.context.dir, 'instance');
		const abort = new AbortController();
		let program: Promise<string> | undefined;
		const { error } = await run(t.context, 'echo up; until test -s /go; do sleep 0.01; done; exit $(cat /go)', {
			signal: abort.signal,
			onOutput: () => {
				program = mountProgram(instance).finally(() => {
					if (how === 'is aborted') abort.abort(new Error('stopped'));
					else void writeFile(path.join(t.context.rootfs, 'go'), how === 'ends' ? '0' : '3');
				});
			},
		});
		if (expected) t.regex(error?.message ?? '', expected);
		else t.is(error, undefined);
		t.false(await isMountPoint(await program ?? ''));
		t.deepEqual(await readdir(layoutOf(instance).runcRoot), []);
	});
}

test('a cgroup parent of the user\'s choice comes and goes', async (t) => {
	const parent = `obd-test-${process.pid}`;
	const { stdout } = await run(t.context, 'cat /proc/self/cgroup', { cgroupParent: `${parent}/inner` });
	t.regex(stdout, new RegExp(`/${parent}/inner/obd/[0-9a-f]+|:/$`, 'm'));
	const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').filter((line) => / - cgroup2? /.test(line)).map((line) => line.split(' ')[4] ?? '');
	for (const mount of mounts) t.false(await exists(path.join(mount, parent)), mount);
});

test('secrets live in memory and go with the runtime', async (t) => {
	const dir = await t.context.runtime.secretDirectory();
	await writeFile(path.join(dir, 's'), 'secret');
	t.is((await stat(dir)).mode & 0o777, 0o700);
	await t.context.runtime.close();
	t.false(await exists(dir));
});

/** Starts a builder that runs a container which sleeps; kills it `delay` ms after its process started. */
async function killedVictim(context: Context, marker: string, delay: number | 'running'): Promise<string> {
	const instance = path.join(context.dir, `killed-${delay}`);
	const script = fileURLToPath(new URL('./runtime-victim.js', import.meta.url));
	const victim = spawn(process.execPath, [script, instance, context.rootfs, marker], { stdio: ['ignore', 'pipe', 'inherit'] });
	const died = new Promise((resolve) => victim.once('exit', resolve));
	const says = (word: string): Promise<void> => new Promise((resolve, reject) => {
		void died.then(() => { reject(new Error('the victim ended by itself')); });
		victim.stdout.on('data', (data: Buffer) => { if (data.toString().includes(word)) resolve(); });
	});
	if (delay === 'running') {
		await says('up');
	} else {
		await says('start');
		await new Promise((resolve) => setTimeout(resolve, delay));
	}
	victim.kill('SIGKILL');
	await died;
	return instance;
}

test('containers of a killed builder are found and removed', async (t) => {
	const marker = `86${process.pid}`;
	const instance = await killedVictim(t.context, marker, 'running');
	t.not((await processesWith(marker)).length, 0);
	const program = await mountProgram(instance);
	t.true(await isMountPoint(program));
	await recoverContainers(instance);
	t.false(await isMountPoint(program));
	t.deepEqual(await processesWith(marker), []);
	t.deepEqual(await cgroupsOf(instance), []);
	t.deepEqual(await readdir(instance), []);
	await recoverContainers(instance);
	await t.notThrowsAsync(recoverContainers(path.join(t.context.dir, 'never-was')));
});

test('a builder killed in any phase of a start leaves nothing that recovery does not find', async (t) => {
	for (let delay = 0; delay < 45; delay += 3) {
		const marker = `84${process.pid}${delay}`;
		const instance = await killedVictim(t.context, marker, delay);
		await recoverContainers(instance);
		t.deepEqual(await thoseThatStay(marker), [], `after ${delay} ms`);
		t.deepEqual(await thoseThatStay(instance), [], `after ${delay} ms`);
		t.deepEqual(await cgroupsOf(instance), [], `after ${delay} ms`);
		t.deepEqual(await readdir(instance).catch(() => []), [], `after ${delay} ms`);
	}
});

/** Processes with this text in their command line: that and their state. */
async function processesWith(word: string): Promise<readonly string[]> {
	const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
	const lines = await Promise.all(pids.map(async (pid) => ({ pid, line: await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '') })));
	const found = lines.filter(({ line }) => line.includes(word));
	return Promise.all(found.map(async ({ pid, line }) => `${line.replaceAll('\0', ' ')}\n${await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')}`));
}

/** A child of the victim that was about to become runc has the victim's command line, and ends by itself. */
async function thoseThatStay(word: string): Promise<readonly string[]> {
	for (const deadline = performance.now() + 5000; ; await sleep(10)) {
		const found = await processesWith(word);
		if (found.length === 0 || performance.now() > deadline) return found;
	}
}
