// Layer files as TypeScript and obd-image see them. The formats themselves are tested in native/test.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import anyTest, { type TestFn } from 'ava';
import { uncompressSync } from 'lz4-napi';
import { commitLayer, compressFile, decompressFile, flatten, inspectLayer } from '../../src/native/layers.js';

const test = anyTest as TestFn<{ dir: string }>;
const golden = (name: string): string => path.resolve('testdata/golden', name);
const base = golden('layers/base.lz4.tar');
const layer2 = golden('layers/layer2.lz4.tar');
const stack2 = '3e754cff6e43218d844afcf00dc94730679c643942e8c1f421c947aa0c932bd9';

test.beforeEach(async (t) => {
	t.context.dir = await mkdtemp(path.join(tmpdir(), 'obd-layers-test-'));
});
test.afterEach.always((t) => rm(t.context.dir, { recursive: true }));

const sha256 = async (file: string): Promise<string> => createHash('sha256').update(await readFile(file)).digest('hex');

/** Runs obd-image as a person does. */
function obdImage(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
	return new Promise((resolve) => {
		execFile(process.execPath, ['dist/src/cli/obd-image.js', ...args], (error, stdout, stderr) => {
			resolve({ code: error ? Number(error.code) : 0, stdout, stderr });
		});
	});
}

/** The append-only writable layer that rw-append.sealed was before it was sealed in place. */
async function writablePair(dir: string): Promise<{ data: string; index: string }> {
	const sealed = await readFile(golden('rw/rw-append.sealed'));
	const data = path.join(dir, 'rw.data');
	const index = path.join(dir, 'rw.index');
	const header = Buffer.from(sealed.subarray(0, 4096));
	header.writeUInt32LE(1, 28);
	header.writeBigUInt64LE(4096n, 32);
	await writeFile(data, sealed.subarray(0, 395264));
	await writeFile(index, Buffer.concat([header, sealed.subarray(395264, 395264 + 32)]));
	return { data, index };
}

test('a report holds what is in the file', async (t) => {
	const report = await inspectLayer(golden('layers/layer3.lz4.tar'));
	t.deepEqual(report.problems, []);
	t.is(report.kind, 'sealed');
	t.is(report.size, 161792);
	t.deepEqual(report.tar, { payloadOffset: 1536, payloadSize: 158784 });
	t.like(report.zfile, { algorithm: 'lz4', blockSize: 4096, headerFlags: '0x1b', trailerFlags: '0x16', completedHeader: true, digests: true, blockChecksums: true });
	t.like(report.lsmt, {
		uuid: '11111111-2222-4333-8444-555555555503', parentUuid: '11111111-2222-4333-8444-555555555502',
		virtualSize: 256 * 1024 * 1024, headerFlags: '0x7', trailerFlags: '0x6', segments: 6, zeroed: 0, records: 256, padding: 250, dataBytes: 917504,
	});
	t.is((await inspectLayer(golden('layers/base.zstd-4k.zfile'))).lsmt?.userTag, 'golden user tag');
	const writable = await inspectLayer(await writablePair(t.context.dir));
	t.is(writable.kind, 'writable');
	t.like(writable.lsmt, { segments: 2, records: 2, dataBytes: 262144, trailerFlags: '0x0' });
});

test('every damaged block is named, and the rest is still reported', async (t) => {
	const bytes = await readFile(base);
	const report = await inspectLayer(base);
	const blocks = [3, 100, 250];
	// Blocks follow the 512-byte header; their lengths are in the index.
	const start = 1536;
	const index = start + (report.zfile?.indexOffset ?? 0);
	for (const block of blocks) {
		let at = start + 512;
		for (let i = 0; i < block; i++) at += bytes.readUInt32LE(index + 4 * i);
		bytes.writeUInt8(bytes.readUInt8(at + 1) ^ 0x10, at + 1);
	}
	const file = path.join(t.context.dir, 'damaged');
	await writeFile(file, bytes);
	const damaged = await inspectLayer(file);
	t.is(damaged.problems.length, 3);
	for (const [i, block] of blocks.entries()) t.regex(damaged.problems[i] ?? '', new RegExp(`damaged: zfile: block ${block} does not match its checksum \\(at byte \\d+\\)`));
	t.is(damaged.zfile?.blocks, 293);
	t.is(damaged.lsmt?.segments, 5);
});

test('what is no layer is said so, what is missing rejects', async (t) => {
	const file = path.join(t.context.dir, 'file');
	await writeFile(file, 'hello');
	t.regex((await inspectLayer(file)).problems.join(), /not an overlaybd layer/);
	await t.throwsAsync(inspectLayer(path.join(t.context.dir, 'missing')), { code: 'ENOENT', message: /missing/ });
	await t.throwsAsync(inspectLayer(t.context.dir), { message: /not a regular file/ });
	await t.throwsAsync(flatten([], file), { instanceOf: TypeError });
	await t.throwsAsync(flatten([file], path.join(t.context.dir, 'out')), { message: /not an overlaybd layer/ });
	await t.throwsAsync(commitLayer(base, path.join(t.context.dir, 'out'), { uuid: '123' }), { message: /uuid "123"/ });
	await t.throwsAsync(commitLayer(base, path.join(t.context.dir, 'out'), { userTag: 'x'.repeat(257) }), { message: /257 bytes/ });
	await t.throwsAsync(commitLayer(base, path.join(t.context.dir, 'out'), { blockSize: 65536 }), { message: /65536/ });
	await t.throwsAsync(compressFile(base, path.join(t.context.dir, 'out'), { threads: 0 }), { message: /threads.*0/ });
	await t.throwsAsync(decompressFile(file, path.join(t.context.dir, 'out')), { message: /not a ZFile/ });
	t.deepEqual(await readdir(t.context.dir), ['file']);
});

test('flatten writes the disk with holes', async (t) => {
	const out = path.join(t.context.dir, 'disk');
	const result = await flatten([base, layer2], out);
	t.is(result.size, 256 * 1024 * 1024);
	t.is(await sha256(out), stack2);
	const { blocks } = await stat(out);
	t.true(blocks * 512 < 4 * 1024 * 1024);
	t.deepEqual(await readdir(t.context.dir), ['disk']);
});

test('a committed layer has the digest and size that are reported', async (t) => {
	const out = path.join(t.context.dir, 'layer');
	const committed = await commitLayer(await writablePair(t.context.dir), out, { uuid: '11111111-2222-4333-8444-55555555550a', threads: 2 });
	t.is(committed.digest, `sha256:${await sha256(out)}`);
	t.is(committed.size, (await stat(out)).size);
	t.is(committed.dataBytes, 262144);
	const report = await inspectLayer(out);
	t.deepEqual(report.problems, []);
	t.is(report.lsmt?.uuid, '11111111-2222-4333-8444-55555555550A');
	t.is(report.lsmt?.segments, committed.segments);
});

test('an independent LZ4 decoder reads the blocks that are written', async (t) => {
	const out = path.join(t.context.dir, 'zfile');
	const plain = await readFile(golden('payload/mixed300k.bin'));
	await compressFile(golden('payload/mixed300k.bin'), out, { threads: 2 });
	const bytes = await readFile(out);
	const trailer = bytes.subarray(-512);
	const index = Number(trailer.readBigUInt64LE(40));
	const blocks = Number(trailer.readBigUInt64LE(48));
	t.is(blocks, 75);
	const decoded: Buffer[] = [];
	for (let i = 0, at = 512; i < blocks; i++) {
		const length = bytes.readUInt32LE(index + 4 * i);
		const size = Buffer.alloc(4); // what lz4-napi wants in front of a raw block
		size.writeUInt32LE(4096);
		decoded.push(uncompressSync(Buffer.concat([size, bytes.subarray(at, at + length - 4)])));
		at += length;
	}
	t.true(Buffer.concat(decoded).equals(plain));
	const back = path.join(t.context.dir, 'back');
	t.is(await decompressFile(out, back), plain.length);
	t.true((await readFile(back)).equals(plain));
});

test('obd-image inspect: report, JSON, exit codes', async (t) => {
	const good = await obdImage('inspect', base, layer2);
	t.is(good.code, 0);
	t.regex(good.stdout, /uuid +11111111-2222-4333-8444-555555555502/);
	t.regex(good.stdout, /no problems/);

	const cut = path.join(t.context.dir, 'cut');
	await writeFile(cut, await readFile(base));
	await truncate(cut, 300000);
	const bad = await obdImage('inspect', '--json', cut);
	t.is(bad.code, 1);
	const [report] = JSON.parse(bad.stdout) as { name: string; problems: string[] }[];
	t.is(report?.name, cut);
	t.regex(report?.problems.join() ?? '', /truncated/);

	const missing = await obdImage('inspect', '/no/such/layer');
	t.is(missing.code, 1);
	t.regex(missing.stderr, /^obd-image: \/no\/such\/layer: no such file/);
	t.is((await obdImage('inspect')).code, 2);
	t.is((await obdImage('frobnicate')).code, 2);
});

test('obd-image flatten: blobs and a writable layer on top', async (t) => {
	const out = path.join(t.context.dir, 'disk');
	const flat = await obdImage('flatten', base, layer2, '-o', out);
	t.is(flat.code, 0, flat.stderr);
	t.is(await sha256(out), stack2);

	const { data, index } = await writablePair(t.context.dir);
	t.is((await obdImage('flatten', `${data}:${index}`, '--output', out)).code, 0);
	t.is(await sha256(out), 'cd39e864ae91fd4d22808e41180479e4d7e2bf0ecdcbf12f22cb177d561c1588');

	const failed = await obdImage('flatten', `${data}:/no/index`, '-o', path.join(t.context.dir, 'other'));
	t.is(failed.code, 1);
	t.regex(failed.stderr, /no \/no\/index/);
	t.is((await obdImage('flatten', base)).code, 2);
	t.false((await readdir(t.context.dir)).includes('other'));
});
