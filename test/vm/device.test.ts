// Every device server this kernel has: attach, read, write, seal, detach, and what the kernel is told of the disk.
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { open, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { makeFileSystem, probeDevices, releaseDevices, startDeviceServer, type DeviceError, type LowerLayer } from '../../src/device/index.js';
import type { FrozenLayer } from '../../src/device/types.js';
import { chooseDevice } from '../../src/device/probe.js';
import { fsckProblems, makePlace, removePlace, sealMounted, withLayers, withMount, withServer } from '../integration/helpers/device.js';
import { allLeftovers, hasUblk, kinds } from './helpers/kernel.js';

const run = promisify(execFile);
const diskBytes = 48 * 2 ** 20;
const uuid = (n: number): string => `11111111-2222-4333-8444-${String(n).padStart(12, '0')}`;

test('the servers of this kernel work, and the fastest is chosen', async (t) => {
	const probes = await probeDevices();
	t.deepEqual(probes.filter(({ missing }) => missing === undefined).map(({ kind }) => kind), kinds);
	t.is(await chooseDevice('auto'), kinds[0]);
	const ublk = probes.find(({ kind }) => kind === 'ublk');
	if (hasUblk) return;
	t.regex(ublk?.missing ?? '', /the kernel module ublk_drv is missing/);
	await t.throwsAsync(chooseDevice('ublk'), { message: /device server ublk: the kernel module ublk_drv is missing/ });
});

for (const kind of kinds) {
	test(`${kind}: a disk is built on, sealed live, and read back from its layers`, async (t) => {
		const place = await makePlace(kind);
		await withServer(place, async (server) => {
			const device = await server.attach({ lowers: [], writable: true, virtualSize: diskBytes });
			const sysfs = (name: string): Promise<string> => readFile(`/sys/block/${path.basename(device.path)}/${name}`, 'utf8').then((text) => text.trim());
			t.is(await sysfs('size'), String(diskBytes / 512));
			t.is(await sysfs('queue/write_cache'), 'write back', 'flushes reach the server');
			t.true(Number(await sysfs('queue/discard_max_bytes')) > 0);
			t.true(Number(await sysfs('queue/write_zeroes_max_bytes')) > 0);
			t.is(await sysfs('ro'), '0');

			await makeFileSystem(device.path);
			const content = randomBytes(3_000_000);
			const lowers: LowerLayer[] = [];
			const layerOf = async (frozen: FrozenLayer | undefined, n: number): Promise<LowerLayer> => {
				if (!frozen) throw new Error('a seal without a condition gave nothing');
				const file = path.join(place.root, `layer${n}`);
				const committed = await frozen.commit({ path: file, uuid: uuid(n) });
				await frozen.release();
				return { kind: 'blob', path: file, ...committed };
			};
			await withMount(device, place.mountPoint, true, async () => {
				for (let n = 0; n < 3; n++) {
					await writeFile(path.join(place.mountPoint, `file${n}`), content.subarray(n));
					lowers.push(await layerOf(await sealMounted(device, place.mountPoint), n));
				}
				await t.throwsAsync(device.detach(), { code: 'EBUSY', message: new RegExp(`mounted on ${place.mountPoint}`) });
			});
			const held = await open(device.path, 'r');
			await t.throwsAsync(device.detach(), { code: 'EBUSY' });
			await held.close();
			lowers.push(await layerOf(await device.seal(), 3)); // with what the unmount wrote
			const live = path.join(place.root, 'live');
			await run('dd', [`if=${device.path}`, `of=${live}`, 'bs=1M', 'iflag=direct']); // the kernel may keep the superblock as it was before the seal
			await device.detach();

			await withLayers(server, lowers, async (sealed) => {
				t.is(await run('cmp', ['--verbose', sealed.path, live]).then(() => '', (error: unknown) => (error as { stdout: string }).stdout.slice(0, 1000)), '');
				t.deepEqual(await fsckProblems(sealed.path), []);
				await withMount(sealed, place.mountPoint, false, async () => {
					for (let n = 0; n < 3; n++) t.true(content.subarray(n).equals(await readFile(path.join(place.mountPoint, `file${n}`))));
				});
				t.is((await run('blockdev', ['--getro', sealed.path])).stdout.trim(), '1');
			});
		});
		t.deepEqual(await allLeftovers(place), []);
		await removePlace(place);
	});

	test(`${kind}: a layer that is cut short under a disk is an I/O error that names it, and the server goes on`, async (t) => {
		const place = await makePlace(kind);
		const file = path.join(place.root, 'layer');
		const content = randomBytes(8 * 2 ** 20);
		const read = (device: string, megabytes: number): Promise<Buffer> =>
			run('dd', [`if=${device}`, 'bs=1M', `count=${megabytes}`, 'iflag=direct'], { encoding: 'buffer', maxBuffer: 2 * content.length }).then(({ stdout }) => stdout);
		await withServer(place, async (server) => {
			const device = await server.attach({ lowers: [], writable: true, virtualSize: diskBytes });
			await writeFile(device.path, content);
			await run('blockdev', ['--flushbufs', device.path]);
			const frozen = await device.seal();
			const committed = await frozen?.commit({ path: file, uuid: uuid(1) });
			await frozen?.release();
			await device.detach();
			if (!committed) throw new Error('a seal without a condition gave nothing');
			await withLayers(server, [{ kind: 'blob', path: file, ...committed }], async (sealed) => {
				t.true(content.equals(await read(sealed.path, 8)));
				const errors: DeviceError[] = [];
				server.onError((error) => errors.push(error));
				await truncate(file, Math.floor((await stat(file)).size / 2));
				await t.throwsAsync(read(sealed.path, 8), { message: /Input\/output error|No data available/ }); // the latter is the kernel's word for a medium error
				t.true(content.subarray(0, 2 ** 20).equals(await read(sealed.path, 1)));
				await sealed.stats(); // what the disk says comes before the answer to a later call
				t.true(errors.length > 0);
				for (const error of errors) t.true(error.message.startsWith(`${file}: the file ends here`), error.message);
			});
		});
		t.deepEqual(await allLeftovers(place), []);
		await removePlace(place);
	});

	test(`${kind}: builders on one host do not touch each other's devices`, async (t) => {
		const places = await Promise.all([1, 2, 3].map(() => makePlace(kind)));
		const servers = await Promise.all(places.map((place) => startDeviceServer(place)));
		const devices = await Promise.all(servers.map((server) => server.attach({ lowers: [], writable: true, virtualSize: diskBytes })));
		await Promise.all(devices.map((device, n) => writeFile(device.path, Buffer.alloc(4096, n + 1))));
		for (const [n, place] of places.entries()) {
			await servers[n]?.close();
			await releaseDevices(place.instanceDir); // as its next start does
			for (const [other, device] of [...devices.entries()].slice(n + 1)) {
				const read = await run('dd', [`if=${device.path}`, 'bs=4k', 'count=1', 'iflag=direct'], { encoding: 'buffer' });
				t.true(Buffer.alloc(4096, other + 1).equals(read.stdout), `builder ${other} after builder ${n} has ended`);
			}
		}
		for (const place of places) {
			t.deepEqual(await allLeftovers(place), []);
			await removePlace(place);
		}
	});

	test(`${kind}: devices come and go side by side`, async (t) => {
		const place = await makePlace(kind);
		await withServer(place, async (server) => {
			await Promise.all([1, 2, 3, 4].map(async (n) => {
				const device = await server.attach({ lowers: [], writable: true, virtualSize: diskBytes });
				const content = Buffer.alloc(1_000_448, n);
				const file = await open(device.path, 'r+');
				await file.write(content, 0, content.length, n * 4096);
				await file.sync();
				await file.close();
				await run('blockdev', ['--flushbufs', device.path]);
				const read = await open(device.path, 'r');
				t.true(content.equals((await read.read(Buffer.alloc(content.length), 0, content.length, n * 4096)).buffer));
				await read.close();
				if (n % 2 === 0) await device.detach(); // the server detaches the others
			}));
		});
		t.deepEqual(await allLeftovers(place), []);
		await removePlace(place);
	});
}
