// Acceleration layers: recorded as overlaybd records them, replayed, and no part of what is built on them.
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFile, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import anyTest, { type TestFn } from 'ava';
import { startDeviceServer } from '../../src/device/index.js';
import { digestOf, getBlob, getConfig, getManifest, pushBlob } from './helpers/base-images.js';
import { nothingLeft, ownStore, setUpBuilds, type BuildContext } from './helpers/build-fixture.js';
import { makePlace, removePlace, withLayers, withServer } from './helpers/device.js';
import { build, makeContext, runObdImage } from './helpers/obd.js';
import { startProxy } from './helpers/registry-proxy.js';
import { readImageFiles, readTar } from './helpers/rootfs.js';

const run = promisify(execFile);
const test = anyTest as TestFn<BuildContext>;
setUpBuilds(test);

const golden = (name: string): string => path.resolve('testdata/golden', name);
const acceleration = 'containerd.io/snapshot/overlaybd/acceleration-layer';

/** The records of a trace file: layer, bytes from and bytes. */
function recordsOf(trace: Buffer): { layer: number; offset: number; count: number }[] {
	if (trace.readUInt32LE(0) !== 0xc2ef1820 || Number(trace.readBigUInt64LE(8)) !== trace.length - 24) throw new Error('no trace');
	return Array.from({ length: (trace.length - 24) / 24 }, (_, i) => {
		const at = 24 + 24 * i;
		return { layer: trace.readUInt32LE(at + 4), count: Number(trace.readBigUInt64LE(at + 8)), offset: Number(trace.readBigInt64LE(at + 16)) };
	});
}

test.serial('record-trace puts what a start reads on top of an image; a build on it leaves that layer out', async (t) => {
	const { base, registry: { host } } = t.context;
	const store = await ownStore(t);
	const big = Buffer.alloc(3 * 1024 * 1024, 'some text that is read\n');
	await build(store, ['-t', `${host}/slow`, '--push', await makeContext(store, { 'Dockerfile': `FROM ${base}\nCOPY big /big\nCMD ["wc", "-c", "/big"]\n`, big })]);
	const plain = await getManifest(host, 'slow');

	const fresh = await ownStore(t);
	const recorded = await runObdImage(fresh, ['record-trace', '--root', fresh.root, `${host}/slow`, `${host}/fast:1`]);
	t.is(recorded.code, 0, recorded.stderr);
	t.regex(recorded.stdout, /^3145728 \/big\n.*fast:1@sha256:[0-9a-f]{64}\n$/s);
	const { manifest } = await getManifest(host, 'fast:1');
	t.deepEqual(manifest.layers.slice(0, -1), plain.manifest.layers);
	const top = manifest.layers.at(-1);
	t.is(top?.annotations?.[acceleration], 'yes');
	t.is(top?.mediaType, 'application/vnd.oci.image.layer.v1.tar');
	const config = await getConfig(host, 'fast:1');
	t.is(config.history[0]?.created_by, 'Acceleration Layer');
	t.is(config.rootfs.diff_ids.at(-1), top?.digest);
	const [entry] = await readTar(await getBlob(host, 'fast', top?.digest ?? ''));
	t.is(entry?.name, 'trace');
	const records = recordsOf(entry?.content ?? Buffer.alloc(0));
	t.true(records.every(({ layer }) => layer < plain.manifest.layers.length));
	const read = (layer: number): number => records.filter((record) => record.layer === layer).reduce((sum, { count }) => sum + count, 0);
	t.true(read(1) >= big.length, `${read(1)} bytes of the layer with the file`);

	const builder = await ownStore(t);
	await build(builder, ['-t', `${host}/on-fast`, '--push', await makeContext(builder, { Dockerfile: `FROM ${host}/fast:1\nRUN wc -c < /big > /size\n` })]);
	const result = await getManifest(host, 'on-fast');
	t.deepEqual(result.manifest.layers.slice(0, -1).map(({ digest }) => digest), plain.manifest.layers.map(({ digest }) => digest));
	t.true(result.manifest.layers.every(({ annotations }) => annotations?.[acceleration] === undefined));
	const made = await getConfig(host, 'on-fast');
	t.deepEqual(made.rootfs.diff_ids, result.manifest.layers.map(({ digest }) => digest));
	t.false(made.history.some(({ created_by }) => created_by === 'Acceleration Layer'));
	t.is(made.history.filter(({ empty_layer }) => empty_layer !== true).length, result.manifest.layers.length);
	t.deepEqual(await readImageFiles(builder, host, 'on-fast', ['size']), ['3145728\n']);

	const again = await runObdImage(fresh, ['record-trace', '--root', fresh.root, `${host}/fast:1`, `${host}/fast:2`]);
	t.is(again.code, 1);
	t.regex(again.stderr, /acceleration layer already exists/);
	const ordinary = await runObdImage(fresh, ['record-trace', '--root', fresh.root, base, `${host}/fast:3`]);
	t.is(ordinary.code, 1);
	t.regex(ordinary.stderr, /must be an overlaybd image/);
	for (const one of [store, fresh, builder]) await nothingLeft(t, one);
});

test.serial('a priority list becomes the layer as it is', async (t) => {
	const { base, registry: { host }, store } = t.context;
	await build(store, ['-t', `${host}/listed`, '--push', await makeContext(store, { Dockerfile: `FROM ${base}\nRUN true\n` })]);
	const list = path.join(store.directory, 'list');
	await writeFile(list, '/bin/busybox\n/etc/\n');
	const { code, stderr } = await runObdImage(store, ['record-trace', '--root', store.root, '--priority_list', list, `${host}/listed`, `${host}/listed:fast`]);
	t.is(code, 0, stderr);
	const [entry] = await readTar(await getBlob(host, 'listed', (await getManifest(host, 'listed:fast')).manifest.layers.at(-1)?.digest ?? ''));
	t.is(entry?.content.toString(), '/bin/busybox\n/etc/\n');

	await writeFile(list, 'bin/busybox\n');
	t.regex((await runObdImage(store, ['record-trace', '--root', store.root, '--priority_list', list, `${host}/listed`, `${host}/listed:no`])).stderr, /bin\/busybox is no absolute path/);
	t.regex((await runObdImage(store, ['record-trace', '--root', store.root, '--priority_list', list, `${host}/listed`, `${host}/listed:no`, 'sh'])).stderr, /can't be set at the same time/);
	await nothingLeft(t, store);
});

test.serial('what an image is accelerated with is fetched too where the first steps on it come from the cache', async (t) => {
	const { base, registry: { host } } = t.context;
	const maker = await ownStore(t);
	const big = randomBytes(3 * 1024 * 1024);
	await build(maker, ['-t', `${host}/hinted`, '--push', await makeContext(maker, { Dockerfile: `FROM ${base}\nCOPY big /big\n`, big })]);
	const list = path.join(maker.directory, 'list');
	await writeFile(list, '/big\n');
	const recorded = await runObdImage(maker, ['record-trace', '--root', maker.root, '--priority_list', list, `${host}/hinted`, `${host}/hinted:fast`]);
	t.is(recorded.code, 0, recorded.stderr);
	const digest = (await getManifest(host, 'hinted')).manifest.layers.at(-1)?.digest ?? '';

	const proxy = await startProxy(host);
	// A step asks this and goes on once the file has come, which nobody reads.
	const fetched = (): number => proxy.passed.filter(({ url }) => url.includes(digest)).reduce((sum, { bytes }) => sum + bytes, 0);
	const patience = Date.now() + 60_000;
	const gate = http.createServer(async (_, response) => {
		while (fetched() < big.length && Date.now() < patience) await new Promise((resolve) => { setTimeout(resolve, 20); });
		response.writeHead(fetched() < big.length ? 504 : 200).end();
	});
	await new Promise<void>((resolve) => { gate.listen(0, '127.0.0.1', resolve); });
	t.teardown(async () => {
		await proxy.close();
		gate.closeAllConnections();
		await new Promise((resolve) => { gate.close(resolve); });
	});
	const store = await ownStore(t);
	const onHinted = (last: string): Promise<string> => makeContext(store, { Dockerfile: `FROM ${proxy.host}/hinted:fast\nRUN true\n${last}` });
	await build(store, [await onHinted('')]);
	await rm(path.join(store.root, 'cache', 'blocks'), { recursive: true, force: true });
	proxy.passed.length = 0;
	const { stderr } = await build(store, ['--allow', 'network.host', await onHinted(`RUN --network=host wget -q -O /dev/null http://127.0.0.1:${(gate.address() as AddressInfo).port}/\n`)]);
	t.regex(stderr, /#\d+ \[2\/3\] RUN true\n#\d+ CACHED/);
	await nothingLeft(t, store);
});

test.serial("the reference's trace, replayed, brings what it names before anybody reads it", async (t) => {
	const { registry: { host } } = t.context;
	const proxy = await startProxy(host);
	const place = await makePlace();
	t.teardown(async () => {
		await proxy.close();
		await removePlace(place);
	});
	const lowers = await Promise.all(['base', 'layer2', 'layer3'].map(async (name) => {
		const blob = await readFile(golden(`layers/${name}.lz4.tar`));
		const { digest, size } = await pushBlob(host, 'traced', 'application/vnd.oci.image.layer.v1.tar', blob);
		t.is(digest, digestOf(blob));
		return { kind: 'remote' as const, digest, size, source: { repository: `${proxy.host}/traced`, insecure: true } };
	}));
	await withServer(place, async (server) => {
		await withLayers(server, lowers, async (device) => {
			const fetched = async (): Promise<number> => Object.values(await server.fetched()).reduce((sum, bytes) => sum + bytes, 0);
			await t.throwsAsync(device.replayTrace(Buffer.from([0x20, 0x18, 0xef, 0xc2, 1])), { message: /trace: / });
			await device.replayTrace(await readFile(golden('trace/stack3.trace')));
			// It was recorded while every byte of the disk was read once: 925,991 bytes of blobs are behind them.
			while ((await fetched()) < 925_991) await new Promise((resolve) => { setTimeout(resolve, 50); });
			proxy.passed.length = 0;
			await run('dd', [`if=${device.path}`, 'of=/dev/null', 'bs=1M', 'iflag=direct', 'status=none']);
			t.deepEqual(proxy.passed, []);
		});
	});
});

test.serial('the files that a priority list names are fetched before anybody reads them, and no others', async (t) => {
	const { base, registry: { host }, store } = t.context;
	const size = 700_000;
	const names = ['a/one', 'a/two', 'b/three', 'b/deep/four', 'b/deep/five', 'c/six'];
	const files = Object.fromEntries(names.map((name) => [name, randomBytes(size)]));
	await build(store, ['-t', `${host}/prior`, '--push', await makeContext(store, { ...files, Dockerfile: `FROM ${base}\nCOPY . /data/\nRUN ln -s /data/a/two /link\n` })]);
	const { manifest } = await getManifest(host, 'prior');
	const lowers = manifest.layers.map(({ digest, size }) => ({ kind: 'remote' as const, digest, size, source: { repository: `${host}/prior`, insecure: true } }));
	const place = await makePlace();
	const server = await startDeviceServer({ ...place, noteReads: true });
	t.teardown(async () => {
		await server.close();
		await removePlace(place);
	});
	await withLayers(server, lowers, async (device) => {
		await t.throwsAsync(device.replayTrace(Buffer.alloc(70_000, '/a\n')), { message: /priority list: longer than 64 KiB/ });
		await device.replayTrace(Buffer.from('/nothing/there\n/data/c\n \n/link\n/data/b/*\n'));
		const wanted = ['/data/a/two', '/data/b/three', '/data/b/deep/four', '/data/b/deep/five'];
		const fetched = async (): Promise<Map<string, number>> => new Map(Object.values(await server.explainReads()).flat().map(({ path, bytes }) => [path, bytes]));
		let parts = await fetched();
		while (!wanted.every((name) => (parts.get(name) ?? 0) >= size)) {
			await new Promise((resolve) => { setTimeout(resolve, 50); });
			parts = await fetched();
		}
		// Extents at the borders of the wanted files have a part of their neighbours.
		for (const name of ['/data/a/one', '/data/c/six']) t.true((parts.get(name) ?? 0) < size / 2, `${parts.get(name)} bytes of ${name}`);
	});
});
