// Device servers and builders that die: what the other side does, and what is left. Needs root.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, readlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import anyTest, { type TestFn } from 'ava';
import { buildMountOptions, makeFileSystem, releaseDevices, startDeviceServer, DeviceServerError } from '../../src/device/index.js';
import { mount, syncfs, umount } from '../../src/native/system.js';
import { fuseConnections, gibibyte, leftovers, makePlace, removePlace, sealMounted, serverProcesses, until, withServer, type Place } from './helpers/device.js';

const test = anyTest as TestFn<Place>;

test.beforeEach(async (t) => {
	t.context = await makePlace();
	await mkdir(path.join(t.context.instanceDir, 'mnt'));
});

test.afterEach.always(async (t) => {
	await removePlace(t.context);
});

/** Starts a builder (device-builder.ts) and waits until its devices are mounted and written to. */
async function startBuilder(place: Place): Promise<ChildProcess> {
	const script = fileURLToPath(new URL('./device-builder.js', import.meta.url));
	const child = spawn(process.execPath, [script, JSON.stringify(place)], { stdio: ['ignore', 'pipe', 'inherit'], detached: true });
	await once(child.stdout, 'data');
	return child;
}

async function killAll(pids: readonly (number | string | undefined)[], signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
	for (const pid of pids) process.kill(Number(pid), signal);
	await until(async () => {
		const states = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')));
		return states.every((stat) => stat === '' || /\) [ZX] /.test(stat));
	});
}

test.serial('a builder that is killed: its device server releases everything by itself and ends', async (t) => {
	const place = t.context;
	const builder = await startBuilder(place);
	const connections = await fuseConnections(place.instanceDir);
	t.is(connections.length, 2);
	await killAll([builder.pid]);
	await until(async () => (await leftovers(place, connections)).length === 0);
	t.pass();
});

test.serial('builder and server killed: the next start releases what they left', async (t) => {
	const place = t.context;
	const builder = await startBuilder(place);
	const connections = await fuseConnections(place.instanceDir);
	builder.kill('SIGSTOP'); // neither gets to do anything about the other's end
	await killAll([...(await serverProcesses(place)), builder.pid]);
	t.true((await leftovers(place)).some((left) => left.startsWith('mount')));
	await releaseDevices(place.instanceDir);
	await until(async () => (await leftovers(place, connections)).every((left) => left.startsWith('file')));
	await releaseDevices(place.instanceDir); // nothing to do is no error
	t.pass();
});

test.serial('a server that is killed: every call fails with the reason, nothing stays mounted, and the builder can go on', async (t) => {
	const place = t.context;
	const server = await startDeviceServer(place);
	const device = await server.attach({ lowers: [], writable: true, virtualSize: gibibyte });
	await makeFileSystem(device.path);
	await mount(device.path, place.mountPoint, 'ext4', buildMountOptions(true));
	await writeFile(path.join(place.mountPoint, 'file'), 'content');
	const frozen = await sealMounted(device, place.mountPoint);
	const committed = path.join(place.root, 'layer');
	const { digest, size } = await frozen.commit({ path: committed, uuid: '11111111-2222-4333-8444-555555555555' });
	const connections = await fuseConnections(place.instanceDir);

	const pids = await serverProcesses(place);
	process.kill(Number(pids[0]), 'SIGSTOP'); // so that the next call is still waiting when it dies
	const pending = t.throwsAsync(frozen.commit({ path: `${committed}2`, uuid: '11111111-2222-4333-8444-555555555556' }), { instanceOf: DeviceServerError, message: /device server was killed by SIGKILL/ });
	await killAll(pids);
	await pending;
	await t.throwsAsync(device.stats(), { instanceOf: DeviceServerError, message: /SIGKILL/ });
	await t.throwsAsync(server.attach({ lowers: [], writable: true, virtualSize: gibibyte }), { instanceOf: DeviceServerError });
	await until(async () => (await leftovers(place, connections)).every((left) => left.startsWith('file')));
	await server.close();

	await withServer(place, async (next) => {
		const again = await next.attach({ lowers: [{ kind: 'blob', digest, size, path: committed }], writable: false });
		await mount(again.path, place.mountPoint, 'ext4', buildMountOptions(false));
		t.is(await readFile(path.join(place.mountPoint, 'file'), 'utf8'), 'content', 'the committed layer is whole');
		await umount(place.mountPoint);
		await again.detach();
	});
	t.deepEqual(await leftovers(place), []);
});

test.serial('a server that is killed while it makes a device ends, and leaves none', async (t) => {
	const place = t.context;
	const server = await startDeviceServer(place);
	const pids = await serverProcesses(place);
	const [pid = ''] = pids;
	// The moments between its calls are too short to be hit.
	const strace = spawn('strace', ['-f', '-p', pid, '-o', '/dev/null', '-e', 'trace=ioctl', '-e', 'signal=none', '-e', 'inject=ioctl:delay_enter=400000'], { stdio: ['ignore', 'ignore', 'pipe'] });
	const ended = once(strace, 'exit');
	await once(strace.stderr, 'data'); // it has attached itself
	const attaching = t.throwsAsync(server.attach({ lowers: [], writable: true, virtualSize: gibibyte }), { instanceOf: DeviceServerError, message: /SIGKILL/ });
	// The file that the loop device will be made of is mounted nowhere. The mount itself is not open for writing.
	await until(async () => {
		const descriptors = await readdir(`/proc/${pid}/fd`);
		const open = await Promise.all(descriptors.map(async (name) => {
			const target = await readlink(`/proc/${pid}/fd/${name}`).catch(() => '');
			return target === '/' && /^flags:\s+\d+2$/m.test(await readFile(`/proc/${pid}/fdinfo/${name}`, 'utf8').catch(() => ''));
		}));
		return open.includes(true);
	});
	await killAll(pids);
	await Promise.all([attaching, ended]);
	await server.close();
	t.deepEqual(await leftovers(place), []);
});

test.serial('signals to the terminal\'s process group do not reach the server', async (t) => {
	const place = t.context;
	await withServer(place, async (server) => {
		const device = await server.attach({ lowers: [], writable: true, virtualSize: gibibyte });
		const pids = await serverProcesses(place);
		const [pid] = pids;
		const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
		t.is(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[3], pid, 'it leads a session of its own');
		for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.kill(Number(pid), signal);
		t.truthy(await device.stats());
		t.deepEqual(await serverProcesses(place), pids);
		await device.detach();
	});
});

test.serial('close with devices still mounted releases them', async (t) => {
	const place = t.context;
	const server = await startDeviceServer(place);
	const device = await server.attach({ lowers: [], writable: true, virtualSize: gibibyte });
	await makeFileSystem(device.path);
	await mount(device.path, place.mountPoint, 'ext4', buildMountOptions(true));
	const nested = path.join(place.mountPoint, 'nested');
	await mkdir(nested);
	await mount('tmpfs', nested, 'tmpfs');
	const connections = await fuseConnections(place.instanceDir);
	await server.close();
	await server.close();
	t.deepEqual(await leftovers(place), []);
	await until(async () => (await leftovers(place, connections)).length === 0);
});

test.serial('a server that cannot be started says why', async (t) => {
	const place = t.context;
	await writeFile(path.join(place.root, 'cache'), 'a file where the cache directory should be');
	await t.throwsAsync(startDeviceServer(place), { instanceOf: DeviceServerError, message: /ended with code[^]*EEXIST|ENOTDIR/ });
	t.deepEqual(await leftovers(place), []);
});

test.serial('a full working directory is an I/O error for the writer and leaves nothing behind', async (t) => {
	const place = t.context;
	await mount('tmpfs', place.instanceDir, 'tmpfs', 'size=20m');
	try {
		await withServer(place, async (server) => {
			const errors: string[] = [];
			server.onError((error) => errors.push(`${error.operation} ${error.message}`));
			const device = await server.attach({ lowers: [], writable: true, virtualSize: gibibyte });
			await makeFileSystem(device.path);
			await mount(device.path, place.mountPoint, 'ext4', buildMountOptions(true));
			const error = await t.throwsAsync<NodeJS.ErrnoException>(async () => {
				for (let n = 0; n < 40; n++) await writeFile(path.join(place.mountPoint, `file${n}`), Buffer.alloc(1_000_000, n + 1), { flush: true });
			});
			t.regex(error.code ?? '', /^(EIO|ENOSPC|EROFS)$/);
			await syncfs(place.mountPoint).catch(() => undefined);
			await mount('tmpfs', place.instanceDir, 'tmpfs', 'remount,size=60m'); // room again, but what was lost is lost
			await t.throwsAsync(device.seal(), { message: /a write to the disk failed before: .*No space left/ });
			t.regex(errors[0] ?? '', /^write .*No space left on device/);
			await umount(place.mountPoint);
			await device.detach();
		});
		t.deepEqual(await readdir(path.join(place.instanceDir, 'layers')).catch(() => []), []);
	} finally {
		await umount(place.instanceDir);
	}
	t.deepEqual(await leftovers(place), []);
});
