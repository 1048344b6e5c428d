// Devices over stacks of local layers: real FUSE, loop devices and ext4. Needs root.
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import anyTest, { type TestFn } from 'ava';
import { buildMountOptions, makeFileSystem, type Device, type DeviceServer, type FrozenLayer, type LowerLayer } from '../../src/device/index.js';
import { flatten, inspectLayer } from '../../src/native/layers.js';
import { freeze, mount, syncfs, thaw, umount } from '../../src/native/system.js';
import { fsckProblems, fuseConnections, gibibyte, leftovers, makePlace, removePlace, sealMounted, serverProcesses, sha256, withLayers, withMount, withServer, type Place } from './helpers/device.js';

const run = promisify(execFile);
const test = anyTest as TestFn<Place>;

test.beforeEach(async (t) => {
	t.context = await makePlace();
});

test.afterEach.always(async (t) => {
	await removePlace(t.context);
});

const uuid = (n: number): string => `11111111-2222-4333-8444-${String(n).padStart(12, '0')}`;

/** Path → content of every regular file. */
type Tree = Map<string, string>;

async function readTree(dir: string): Promise<Tree> {
	const tree: Tree = new Map();
	for (const entry of await readdir(dir, { recursive: true, withFileTypes: true })) {
		if (!entry.isFile()) continue;
		const file = path.join(entry.parentPath, entry.name);
		tree.set(path.relative(dir, file), (await readFile(file)).toString('base64'));
	}
	return tree;
}

async function newDisk(server: DeviceServer, size = 64 * gibibyte): Promise<Device> {
	const device = await server.attach({ lowers: [], writable: true, virtualSize: size });
	await makeFileSystem(device.path);
	return device;
}

async function commitTo(place: Place, layer: FrozenLayer, n: number): Promise<LowerLayer> {
	const file = path.join(place.root, `layer${n}`);
	const { digest, size } = await layer.commit({ path: file, uuid: uuid(n), ...(n > 0 && { parentUuid: uuid(n - 1) }) });
	return { kind: 'blob', digest, size, path: file };
}

test('every prefix of the layers of a disk sealed live is a clean file system with the content of its time', async (t) => {
	const place = t.context;
	await withServer(place, async (server) => {
		const device = await newDisk(server);
		const frozen: FrozenLayer[] = [];
		const trees: Tree[] = [];
		await withMount(device, place.mountPoint, true, async () => {
			for (let step = 0; step < 6; step++) {
				await changeFiles(place.mountPoint, step);
				frozen.push(await sealMounted(device, place.mountPoint));
				trees.push(await readTree(place.mountPoint));
			}
		});
		await device.detach();

		const lowers: LowerLayer[] = [];
		for (const [n, layer] of frozen.entries()) {
			lowers.push(await commitTo(place, layer, n));
			await withLayers(server, lowers, async (prefix) => {
				t.deepEqual(await fsckProblems(prefix.path), [], `prefix of ${n + 1} layers`);
				await withMount(prefix, place.mountPoint, false, async () => {
					t.deepEqual(await readTree(place.mountPoint), trees[n]);
				});
			});
		}
		await Promise.all(frozen.map((layer) => layer.release()));

		const image = path.join(place.root, 'image');
		await flatten(lowers.map((lower) => (lower.kind === 'blob' ? lower.path : '')), image);
		t.deepEqual(await fsckProblems(image), []);
	});
	t.deepEqual(await leftovers(place), []);
});

async function changeFiles(root: string, step: number): Promise<void> {
	await mkdir(path.join(root, `dir${step}/deep/er`), { recursive: true });
	for (let i = 0; i < 40; i++) await writeFile(path.join(root, `dir${step}/file${i}`), randomBytes(i * 997));
	await symlink('file1', path.join(root, `dir${step}/link`));
	await writeFile(path.join(root, 'changing'), `step ${step}`);
	if (step === 2) await rm(path.join(root, 'dir0'), { recursive: true });
	if (step === 3) {
		const file = await open(path.join(root, 'sparse'), 'w');
		await file.write(Buffer.from('end'), 0, 3, 5 * gibibyte);
		await file.close();
		await rm(path.join(root, 'sparse'));
	}
}

test('the seal is not done when something was written after the count it was given', async (t) => {
	const place = t.context;
	await withServer(place, async (server) => {
		const device = await newDisk(server);
		await withMount(device, place.mountPoint, true, async () => {
			await writeFile(path.join(place.mountPoint, 'a'), 'a');
			await syncfs(place.mountPoint);
			const { writes } = await device.stats();
			await writeFile(path.join(place.mountPoint, 'b'), 'b');
			await syncfs(place.mountPoint);
			t.is(await device.seal({ ifWrites: writes }), undefined);

			const now = (await device.stats()).writes;
			t.true(now > writes);
			const sealed = await device.seal({ ifWrites: now });
			t.truthy(sealed);
			t.is((await device.stats()).writes, now, 'the seal itself is no write');
			await sealed?.release();
		});
		await device.detach();
	});
	t.deepEqual(await leftovers(place), []);
});

test('a file system with a journal is sealed once it is frozen, and is clean then', async (t) => {
	const place = t.context;
	await withServer(place, async (server) => {
		const device = await server.attach({ lowers: [], writable: true, virtualSize: gibibyte });
		await run('mke2fs', ['-q', '-t', 'ext4', '-O', 'has_journal', device.path], { env: { PATH: '/usr/sbin:/sbin:/usr/bin:/bin' } });
		const frozen = await withMount(device, place.mountPoint, true, async () => {
			await writeFile(path.join(place.mountPoint, 'file'), 'content');
			await syncfs(place.mountPoint);
			t.is(await device.seal({ ifWrites: (await device.stats()).writes }), undefined);
			await t.throwsAsync(device.seal(), { message: /freeze the file system/ });
			await freeze(place.mountPoint);
			try {
				return await device.seal();
			} finally {
				await thaw(place.mountPoint);
			}
		});
		await withLayers(server, [{ kind: 'frozen', id: frozen?.id ?? '' }], async (sealed) => {
			t.deepEqual(await fsckProblems(sealed.path), []);
			await withMount(sealed, place.mountPoint, false, async () => t.is(await readFile(path.join(place.mountPoint, 'file'), 'utf8'), 'content'));
		});
		await device.detach();
	});
	t.deepEqual(await leftovers(place), []);
});

test('a frozen layer stands below other devices while its own device goes on, and after its release', async (t) => {
	const place = t.context;
	const second = path.join(place.root, 'mnt2');
	await mkdir(second);
	await withServer(place, async (server) => {
		const device = await newDisk(server);
		await mount(device.path, place.mountPoint, 'ext4', buildMountOptions(true));
		await writeFile(path.join(place.mountPoint, 'shared'), 'from the first');
		const frozen = await sealMounted(device, place.mountPoint);
		await writeFile(path.join(place.mountPoint, 'shared'), 'changed later');

		const other = await server.attach({ lowers: [{ kind: 'frozen', id: frozen.id }], writable: true });
		await frozen.release();
		await withMount(other, second, true, async () => {
			t.is(await readFile(path.join(second, 'shared'), 'utf8'), 'from the first');
			await writeFile(path.join(second, 'own'), 'own');
			const own = await sealMounted(other, second);
			const { dataBytes } = await own.commit({ path: path.join(place.root, 'own'), uuid: uuid(1) });
			t.true(dataBytes < 256 * 1024, `${dataBytes} bytes: the layer holds its own changes only`);
		});
		t.is(await readFile(path.join(place.mountPoint, 'shared'), 'utf8'), 'changed later');
		await other.detach();
		await umount(place.mountPoint);
		await device.detach();
		await t.throwsAsync(frozen.commit({ path: path.join(place.root, 'x'), uuid: uuid(2) }), { message: /was released/ });
	});
	t.deepEqual(await leftovers(place), []);
});

test('what was written and deleted again leaves nothing in the layer', async (t) => {
	const place = t.context;
	await withServer(place, async (server) => {
		const device = await newDisk(server);
		await withMount(device, place.mountPoint, true, async () => {
			await (await sealMounted(device, place.mountPoint)).release();
			await writeFile(path.join(place.mountPoint, 'big'), randomBytes(30_000_000));
			await syncfs(place.mountPoint);
			await rm(path.join(place.mountPoint, 'big'));
			const frozen = await sealMounted(device, place.mountPoint);
			const { dataBytes, size } = await frozen.commit({ path: path.join(place.root, 'layer'), uuid: uuid(1) });
			t.true(dataBytes < 200_000, `${dataBytes} bytes of data`);
			t.true(size < 50_000, `${size} bytes of blob`);
		});
		await device.detach();
	});
});

test('the layer says whose child it is, and its digest is that of its file', async (t) => {
	const place = t.context;
	await withServer(place, async (server) => {
		const device = await newDisk(server);
		const frozen = await device.seal();
		const file = path.join(place.root, 'layer');
		const result = await frozen?.commit({ path: file, uuid: uuid(7), parentUuid: uuid(6) });
		t.is(result?.digest, `sha256:${await sha256(file)}`);
		t.is(result?.size, (await stat(file)).size);
		const report = await inspectLayer(file);
		t.deepEqual(report.problems, []);
		t.is(report.lsmt?.uuid, uuid(7));
		t.is(report.lsmt?.parentUuid, uuid(6));
		t.is(report.lsmt?.virtualSize, device.size);
		t.deepEqual(await readdir(place.root).then((names) => names.filter((name) => name.includes('tmp'))), []);
		await device.detach();
	});
});

test('equal input gives equal layers: a new file system depends on nothing but its size', async (t) => {
	const place = t.context;
	const digests = await withServer(place, async (server) => {
		const made: string[] = [];
		for (let i = 0; i < 2; i++) {
			const device = await newDisk(server);
			const frozen = await device.seal();
			made.push((await frozen?.commit({ path: path.join(place.root, `layer${i}`), uuid: uuid(1) }))?.digest ?? '');
			await device.detach();
		}
		return made;
	});
	t.is(digests[0], digests[1]);
});

test('devices work side by side', async (t) => {
	const place = t.context;
	await withServer(place, async (server) => {
		const one = async (n: number): Promise<void> => {
			const mountPoint = path.join(place.root, `mnt${n}`);
			await mkdir(mountPoint);
			const device = await newDisk(server, gibibyte);
			const content = randomBytes(3_000_000);
			await withMount(device, mountPoint, true, async () => {
				await writeFile(path.join(mountPoint, 'file'), content);
				const lower = await commitTo(place, await sealMounted(device, mountPoint), n);
				await withLayers(server, [lower], async (sealed) => {
					t.deepEqual(await fsckProblems(sealed.path), []);
				});
			});
			await device.detach();
		};
		await Promise.all(Array.from({ length: 8 }, (_, n) => one(n)));
	});
	t.deepEqual(await leftovers(place), []);
});

test('a device in use cannot be detached, stays up, and can be detached afterwards', async (t) => {
	const place = t.context;
	await withServer(place, async (server) => {
		const device = await newDisk(server);
		const connections = await fuseConnections(place.instanceDir);
		t.is(connections.length, 1);
		await withMount(device, place.mountPoint, true, async () => {
			await t.throwsAsync(device.detach(), { code: 'EBUSY', message: new RegExp(`${device.path}.*mounted on ${place.mountPoint}`) });
			await writeFile(path.join(place.mountPoint, 'still'), 'works');
			await syncfs(place.mountPoint);
		});
		const file = await open(device.path, 'r');
		await t.throwsAsync(device.detach(), { code: 'EBUSY' });
		t.is((await file.read(Buffer.alloc(4096), 0, 4096, 0)).bytesRead, 4096);
		await file.close();
		await device.detach();
		await device.detach();
		t.deepEqual(await leftovers(place, connections), await serverProcesses(place));
	});
});

test('a read-only device takes no writes and cannot be sealed', async (t) => {
	const place = t.context;
	await withServer(place, async (server) => {
		const device = await newDisk(server);
		const frozen = await device.seal();
		const sealed = await server.attach({ lowers: [{ kind: 'frozen', id: frozen?.id ?? '' }], writable: false });
		const error = await t.throwsAsync<NodeJS.ErrnoException>(writeFile(sealed.path, Buffer.alloc(4096), { flag: 'r+' }));
		t.regex(error.code ?? '', /^(EACCES|EPERM|EROFS)$/);
		await t.throwsAsync(sealed.seal(), { message: /read-only/ });
		await sealed.detach();
		await device.detach();
	});
});

test('lowers that cannot be opened are named, and nothing stays open', async (t) => {
	const place = t.context;
	await withServer(place, async (server) => {
		const file = path.join(place.root, 'nonsense');
		await writeFile(file, randomBytes(100_000));
		const lower = (blob: string): LowerLayer => ({ kind: 'blob', digest: 'sha256:0', size: 100_000, path: blob });
		await t.throwsAsync(server.attach({ lowers: [lower(file)], writable: true }), { message: /nonsense/ });
		await t.throwsAsync(server.attach({ lowers: [lower(path.join(place.root, 'missing'))], writable: false }), { code: 'ENOENT', message: /missing/ });
		await t.throwsAsync(server.attach({ lowers: [{ kind: 'frozen', id: '99' }], writable: false }), { message: /frozen layer 99/ });
		await t.throwsAsync(server.attach({ lowers: [], writable: true }), { message: /how large/ });
		t.deepEqual(await leftovers(place), await serverProcesses(place));
	});
	t.deepEqual(await leftovers(place), []);
});

test('fio finds every block it wrote, with live seals in between', async (t) => {
	const place = t.context;
	await withServer(place, async (server) => {
		const device = await server.attach({ lowers: [], writable: true, virtualSize: gibibyte / 4 });
		const job = ['--name=verify', `--filename=${device.path}`, '--direct=1', '--ioengine=libaio', '--iodepth=16', '--bsrange=4k-256k',
			'--bs_unaligned=0', '--blockalign=4k', '--rw=randwrite', '--size=192m', '--verify=crc32c', '--do_verify=1', '--verify_fatal=1', '--randseed=7', '--loops=2', '--norandommap=0'];
		let done = false;
		const fio = run('fio', job, { cwd: place.root }).finally(() => (done = true));
		const frozen: FrozenLayer[] = [];
		while (!done) {
			const layer = await device.seal();
			if (layer) frozen.push(layer);
			await new Promise((resolve) => setTimeout(resolve, 150));
		}
		await t.notThrowsAsync(fio);
		t.true(frozen.length > 1, 'it was sealed while fio ran');

		const live = await sha256(device.path);
		const top = await device.seal();
		const lowers = [...frozen, ...(top ? [top] : [])];
		const committed: LowerLayer[] = [];
		for (const [n, layer] of lowers.entries()) committed.push(await commitTo(place, layer, n));
		await withLayers(server, committed, async (sealed) => {
			t.is(await sha256(sealed.path), live);
		});
		await device.detach();
	});
});
