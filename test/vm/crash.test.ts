// Device servers and builders that are killed: what goes on, what is lost, what is left.
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { link, mkdir, open, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test from 'ava';
import { buildMountOptions, makeFileSystem, releaseDevices, startDeviceServer, type Device, type DeviceServer, type LowerLayer } from '../../src/device/index.js';
import { layersDirectory } from '../../src/device/leftovers.js';
import { flatten } from '../../src/native/layers.js';
import { mount, umount } from '../../src/native/system.js';
import { fsckProblems, fuseConnections, makePlace, removePlace, sealMounted, serverProcesses, until, withLayers, withMount, withServer, type Place } from '../integration/helpers/device.js';
import { allLeftovers, kinds, lastingKinds } from './helpers/kernel.js';

const run = promisify(execFile);
const diskBytes = 256 * 2 ** 20;
const uuid = '11111111-2222-4333-8444-555555555555';

/** Kills the place's device server. */
async function killServer(place: Place): Promise<void> {
	for (const pid of await serverProcesses(place)) process.kill(Number(pid), 'SIGKILL');
}

/** Appends numbered lines to a file, each on the disk before the next, until told to end. How many there are. */
async function writeLines(file: string, isOver: () => boolean): Promise<number> {
	const handle = await open(file, 'a');
	try {
		let count = 0;
		for (; !isOver(); count++) {
			await handle.write(`line ${count}\n`);
			await handle.datasync();
		}
		return count;
	} finally {
		await handle.close();
	}
}

const linesOf = (count: number): string => Array.from({ length: count }, (_, n) => `line ${n}\n`).join('');

async function committed(place: Place, layer: Awaited<ReturnType<Device['seal']>>, n: number): Promise<LowerLayer> {
	if (!layer) throw new Error('a seal without a condition gave nothing');
	const file = path.join(place.root, `layer${n}`);
	return { kind: 'blob', path: file, ...(await layer.commit({ path: file, uuid })) };
}

for (const kind of lastingKinds) {
	test(`${kind}: a server that is killed again and again under fio is not noticed`, async (t) => {
		const place = await makePlace(kind);
		await withServer(place, async (server: DeviceServer) => {
			const device = await server.attach({ lowers: [], writable: true, virtualSize: diskBytes });
			await makeFileSystem(device.path);
			const layers: Awaited<ReturnType<Device['seal']>>[] = [];
			let lines = 0;
			await withMount(device, place.mountPoint, true, async () => {
				let isOver = false;
				const fio = run('fio', ['--name=verify', `--directory=${place.mountPoint}`, '--size=16m', '--rw=randrw', '--bsrange=4k-64k', '--direct=1', '--ioengine=libaio',
					'--iodepth=8', '--fsync=20', '--verify=crc32c', '--verify_backlog=64', '--verify_fatal=1', '--time_based', '--runtime=20', '--randseed=3']).finally(() => (isOver = true));
				const writing = writeLines(path.join(place.mountPoint, 'lines'), () => isOver);
				for (let kills = 0; kills < 2; kills++) {
					await sleep(2000);
					await killServer(place);
					layers.push(await sealMounted(device, place.mountPoint)); // waits for the next server
				}
				await t.notThrowsAsync(fio);
				lines = await writing;
				t.is(await readFile(path.join(place.mountPoint, 'lines'), 'utf8'), linesOf(lines));
			});
			t.deepEqual(await fsckProblems(device.path), []);
			layers.push(await device.seal());
			await device.detach();
			const lowers: LowerLayer[] = [];
			for (const [n, layer] of layers.entries()) lowers.push(await committed(place, layer, n));
			await withLayers(server, lowers, async (sealed) => {
				t.deepEqual(await fsckProblems(sealed.path), []);
				await withMount(sealed, place.mountPoint, false, async () => {
					t.is(await readFile(path.join(place.mountPoint, 'lines'), 'utf8'), linesOf(lines));
				});
			});
			t.true(lines > 10, `${lines} lines were written`);
		});
		t.deepEqual(await allLeftovers(place), []);
		await removePlace(place);
	});
}

test('fuse: a server that is killed is an I/O error; no sealed layer and no fsynced write is lost', async (t) => {
	const place = await makePlace('fuse');
	const server = await startDeviceServer(place);
	const device = await server.attach({ lowers: [], writable: true, virtualSize: diskBytes });
	await makeFileSystem(device.path);
	await mount(device.path, place.mountPoint, 'ext4', buildMountOptions(true));
	let count = 0;
	const file = path.join(place.mountPoint, 'lines');
	await writeLines(file, () => count++ === 10);
	const sealed = await committed(place, await sealMounted(device, place.mountPoint), 0);
	// What is fsynced from here on is in the files of the writable layer, which go away when their server is dead.
	const files = layersDirectory(place.instanceDir);
	const kept = { data: path.join(place.root, 'kept.data'), index: path.join(place.root, 'kept.index') };
	await link(path.join(files, '2.data'), kept.data);
	await link(path.join(files, '2.index'), kept.index);
	count = 0;
	const writing = writeLines(path.join(place.mountPoint, 'more'), () => ++count < 0);
	await until(() => Promise.resolve(count > 2)); // two are written
	const connections = await fuseConnections(place.instanceDir);
	await killServer(place);
	t.regex(await writing.then(String, (error: NodeJS.ErrnoException) => error.code ?? ''), /^(EIO|EROFS)$/);
	await until(async () => (await allLeftovers(place, connections)).every((left) => left.startsWith('file')));

	const disk = path.join(place.root, 'disk');
	await flatten([sealed.kind === 'blob' ? sealed.path : '', kept], disk);
	await run('mount', ['-o', 'loop', disk, place.mountPoint]);
	t.is(await readFile(file, 'utf8'), linesOf(10));
	t.regex(await readFile(path.join(place.mountPoint, 'more'), 'utf8'), /^line 0\nline 1\n/);
	await umount(place.mountPoint);

	await releaseDevices(place.instanceDir);
	await withServer(place, async (next) => {
		await withLayers(next, [sealed], (again) => withMount(again, place.mountPoint, false, async () => t.is(await readFile(file, 'utf8'), linesOf(10))));
	});
	t.deepEqual(await allLeftovers(place, connections), []);
	await removePlace(place);
});

/** Starts a script of the tests as a builder with `place`, and waits until it says that it is ready. */
async function startBuilder(place: Place, script: string): Promise<ChildProcess> {
	const child = spawn(process.execPath, [fileURLToPath(new URL(script, import.meta.url)), JSON.stringify(place)], { stdio: ['ignore', 'pipe', 'inherit'], detached: true });
	await once(child.stdout, 'data');
	return child;
}

/**
 * Kills a builder and its server at once, and waits until the server is gone: the builder may have to wait for
 * its disk. Neither gets to do anything about the other's end.
 */
async function killBoth(place: Place, builder: ChildProcess): Promise<void> {
	builder.kill('SIGSTOP');
	const servers = await serverProcesses(place);
	await killServer(place);
	builder.kill('SIGKILL');
	await until(async () => (await Promise.all(servers.map((pid) => readFile(`/proc/${pid}/stat`, 'utf8').then((stat) => /\) [ZX] /.test(stat), () => true)))).every(Boolean));
}

const onlyFiles = (left: readonly string[]): string[] => left.filter((one) => !one.startsWith('file '));

for (const kind of kinds) {
	test(`${kind}: builder and server killed with mounted disks: the next start releases everything`, async (t) => {
		const place = await makePlace(kind);
		await mkdir(path.join(place.instanceDir, 'mnt'));
		const builder = await startBuilder(place, '../integration/device-builder.js');
		const connections = await fuseConnections(place.instanceDir);
		await killBoth(place, builder);
		t.true((await allLeftovers(place)).some((left) => left.startsWith('mount')));
		await releaseDevices(place.instanceDir);
		t.deepEqual(onlyFiles(await allLeftovers(place, connections)), []);
		await removePlace(place);
	});
}

for (const kind of kinds) {
	test(`${kind}: builder killed while its server is stopped, with mounted disks: the next start ends that and releases everything`, async (t) => {
		const place = await makePlace(kind);
		await mkdir(path.join(place.instanceDir, 'mnt'));
		const builder = await startBuilder(place, '../integration/device-builder.js');
		const connections = await fuseConnections(place.instanceDir);
		for (const pid of await serverProcesses(place)) process.kill(Number(pid), 'SIGSTOP');
		builder.kill('SIGKILL'); // it may have to wait for its disk
		t.true((await allLeftovers(place)).some((left) => left.startsWith('mount')));
		await releaseDevices(place.instanceDir);
		t.deepEqual(onlyFiles(await allLeftovers(place, connections)), []);
		await removePlace(place);
	});
}

for (const kind of lastingKinds) {
	test(`${kind}: killed at any moment of attaching and detaching: the next start releases everything`, async (t) => {
		const place = await makePlace(kind);
		for (const delay of [0, 150, 400, 900]) {
			const builder = await startBuilder(place, './attaching-builder.js');
			await sleep(delay);
			await killBoth(place, builder);
			const left = await allLeftovers(place);
			await releaseDevices(place.instanceDir);
			t.deepEqual(onlyFiles(await allLeftovers(place)), [], `after ${delay} ms, with ${left.join(', ') || 'nothing'}`);
			await rm(place.instanceDir, { recursive: true }); // as the store does
		}
		await removePlace(place);
	});
}
