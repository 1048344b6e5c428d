import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { digestOf, emptyDigest } from '../../src/image/index.js';
import { blobRef, recordRef, Store, StoreError, type Lease } from '../../src/store/index.js';

async function temporaryRoot(t: ExecutionContext): Promise<string> {
	const root = await mkdtemp(path.join(tmpdir(), 'obd-test-store-'));
	t.teardown(() => rm(root, { recursive: true, force: true }));
	return root;
}

async function openStore(t: ExecutionContext): Promise<{ store: Store; root: string; lease: Lease }> {
	const root = await temporaryRoot(t);
	const store = Store.open(root);
	t.teardown(() => store.close());
	return { store, root, lease: await store.lease() };
}

const bytes = Buffer.from('some content');
const digest = digestOf(bytes);

test('a blob is there after put, under its digest, and nowhere before', async (t) => {
	const { store, root, lease } = await openStore(t);
	t.false(await store.blobs.has(digest));
	t.is(await store.blobs.read(digest), undefined);
	t.deepEqual(await store.blobs.put(bytes, lease), { digest, size: bytes.length });
	t.true(await store.blobs.has(digest, bytes.length));
	t.false(await store.blobs.has(digest, 1));
	t.deepEqual(await store.blobs.read(digest), bytes);
	t.true((await readFile(path.join(root, 'blobs/sha256', digest.slice(7)))).equals(bytes));
	t.is(Buffer.concat(await store.blobs.stream(digest, 5).toArray() as Buffer[]).toString(), 'content');
});

test('an empty blob is a blob, an emptied one is not', async (t) => {
	const { store, lease } = await openStore(t);
	await store.blobs.put(Buffer.alloc(0), lease);
	t.is(await store.blobs.size(emptyDigest), 0);
	await store.blobs.put(bytes, lease);
	await truncate(store.blobs.path(digest), 0);
	t.is(await store.blobs.size(digest), undefined, 'what a power failure leaves does not count');
});

test('content with another digest or size is refused and leaves nothing', async (t) => {
	const { store, root, lease } = await openStore(t);
	const other = digestOf('other');
	await t.throwsAsync(store.blobs.put(bytes, lease, other), { name: 'ContentMismatchError', message: `blob ${other}: expected ${other}, got ${digest}` });
	const writer = await store.blobs.create(lease, { digest, size: 3 });
	await t.throwsAsync(writer.write(bytes), { message: `blob ${digest}: expected 3 bytes, got more` });
	await writer.abort();
	const short = await store.blobs.create(lease, { size: 100 });
	await short.write(bytes);
	await t.throwsAsync(short.commit(), { message: /expected 100 bytes, got 12 bytes/ });
	await short.abort();
	t.false(await store.blobs.has(other));
	t.false(await store.blobs.has(digest));
	t.deepEqual(await readdir((await store.instance()).directory), []);
	t.false(existsSync(path.join(root, 'blobs')));
});

test('a name that is no digest never becomes a path', async (t) => {
	const { store } = await openStore(t);
	for (const bad of ['sha256:../../../etc/passwd', 'sha256:', '../x', `sha256:${'A'.repeat(64)}`]) {
		t.throws(() => store.blobs.path(bad));
		await t.throwsAsync(store.blobs.has(bad));
	}
});

test('a file made by others is adopted, with its size checked', async (t) => {
	const { store, lease } = await openStore(t);
	const file = await store.blobs.temporaryPath();
	await writeFile(file, bytes);
	await t.throwsAsync(store.blobs.adopt(file, { digest, size: 5 }, lease), { name: 'ContentMismatchError' });
	await store.blobs.adopt(file, { digest, size: bytes.length }, lease);
	t.deepEqual(await store.blobs.read(digest), bytes);
	t.false(existsSync(file));
});

test('tables keep typed values over a restart', async (t) => {
	const root = await temporaryRoot(t);
	const first = Store.open(root);
	const table = first.table<{ n: number }>('numbers');
	await Promise.all([table.put('b', { n: 2 }), table.put('a/1', { n: 1 }), table.put('a/2', { n: 3 })]);
	await table.delete('b');
	await first.close();
	const second = Store.open(root);
	t.teardown(() => second.close());
	const again = second.table<{ n: number }>('numbers');
	t.deepEqual(again.get('a/1'), { n: 1 });
	t.is(again.get('b'), undefined);
	t.true(again.has('a/2'));
	await again.put('b/1', { n: 9 });
	t.deepEqual([...again.entries('a/')], [['a/1', { n: 1 }], ['a/2', { n: 3 }]]);
	t.deepEqual([...again.entries()].length, 3);
	await t.throwsAsync(again.put('x'.repeat(600), { n: 1 }), { instanceOf: RangeError });
});

test('a transaction happens as a whole or not at all', async (t) => {
	const { store } = await openStore(t);
	const [one, two] = [store.table<number>('one'), store.table<number>('two')];
	t.throws(() => store.transaction((transaction) => {
		transaction.put(one, 'k', 1);
		transaction.put(two, 'k', 2);
		throw new Error('no');
	}), { message: 'no' });
	t.deepEqual([one.get('k'), two.get('k')], [undefined, undefined]);
	const result = store.transaction((transaction) => {
		transaction.put(one, 'k', 1);
		transaction.put(two, 'k', (one.get('k') ?? 0) + 1);
		return 'done';
	});
	t.deepEqual([result, one.get('k'), two.get('k')], ['done', 1, 2]);
});

test('writes happen in the order of the calls', async (t) => {
	const { store } = await openStore(t);
	const table = store.table<number>('order');
	await Promise.all(Array.from({ length: 200 }, (_, i) => table.put('k', i)));
	t.is(table.get('k'), 199);
});

test('a table of more entries than one read fetches is read whole', async (t) => {
	const { store } = await openStore(t);
	const table = store.table<number>('many');
	const keys = Array.from({ length: 1025 }, (_, i) => `k${String(i).padStart(5, '0')}`);
	await table.putAll(keys.map((key, i) => [key, i]));
	await store.table<number>('manyx').put('other', 1);
	t.deepEqual([...table.entries()].map(([key]) => key), keys);
	await table.deleteAll('k000');
	t.is([...table.entries()].length, 925);
	t.is(store.table<number>('manyx').get('other'), 1);
});

test('records count their use', async (t) => {
	const { store } = await openStore(t);
	const records = store.records<string>('cache');
	await records.put('k', 'v', { refs: [blobRef(digest)], size: 7 });
	const before = records.get('k');
	t.like(before, { value: 'v', refs: [blobRef(digest)], size: 7, uses: 0 });
	await records.touch(['k', 'k', 'missing']);
	await records.touch(['k']);
	t.is(records.get('k')?.uses, 2);
	t.is(records.get('missing'), undefined);
	t.throws(() => store.records('blob'));
	t.throws(() => store.records('a/b'));
});

test('the collector drops what nothing needs, and keeps what a record or a lease needs', async (t) => {
	const { store, lease } = await openStore(t);
	const put = async (content: string) => (await store.blobs.put(Buffer.from(content), lease)).digest;
	const [recorded, leased, orphan] = [await put('recorded'), await put('leased'), await put('orphan')];
	await store.records<string>('cache').put('k', 'v', { refs: [blobRef(recorded)] });
	const keep = await store.lease();
	await keep.protect([blobRef(leased)]);
	await lease.release();
	const first = await store.collect({ keepBytes: 1000 });
	t.deepEqual(first.blobs, [orphan]);
	t.deepEqual(first.records, []);
	t.is(first.bytes, 6);
	t.is(first.keptBytes, 14);
	await keep.release();
	t.deepEqual((await store.collect({ keepBytes: 1000 })).blobs, [leased]);
	const last = await store.collect();
	t.deepEqual(last.records, [recordRef('cache', 'k')]);
	t.deepEqual(last.blobs, [recorded]);
	t.is(last.keptBytes, 0);
});

test('the collector takes the least recently used first, and only as much as it must', async (t) => {
	const { store, lease } = await openStore(t);
	const records = store.records<number>('cache');
	for (const [i, name] of ['old', 'used', 'new'].entries()) {
		const { digest: blob } = await store.blobs.put(Buffer.alloc(1000, i), lease);
		await records.put(name, i, { refs: [blobRef(blob)] });
		await new Promise((resolve) => setTimeout(resolve, 5));
	}
	await lease.release();
	await records.touch(['old']);
	const { records: gone, keptBytes } = await store.collect({ keepBytes: 2500 });
	t.deepEqual(gone, [recordRef('cache', 'used')]);
	t.is(keptBytes, 2000);
	t.deepEqual((await store.collect({ keepDuration: 3_600_000 })).records, [], 'all were used within the hour');
});

test('a record that another record needs stays as long as that', async (t) => {
	const { store, lease } = await openStore(t);
	const { digest: blob } = await store.blobs.put(bytes, lease);
	await lease.release();
	await store.records<string>('layer').put('base', 'b', { refs: [blobRef(blob)], size: 10 });
	await new Promise((resolve) => setTimeout(resolve, 5));
	await store.records<string>('cache').put('top', 't', { refs: [recordRef('layer', 'base')], size: 100 });
	t.deepEqual((await store.collect({ keepBytes: 110 + bytes.length })).records, []);
	t.deepEqual((await store.collect({ keepBytes: 50 })).records, [recordRef('cache', 'top')]);
	t.true(await store.blobs.has(blob));
	t.deepEqual((await store.collect()).records, [recordRef('layer', 'base')]);
	t.false(await store.blobs.has(blob));
});

test('a lease on a record keeps it and what it needs', async (t) => {
	const { store, lease } = await openStore(t);
	const { digest: blob } = await store.blobs.put(bytes, lease);
	await store.records<string>('cache').put('k', 'v', { refs: [blobRef(blob)] });
	const keep = await store.lease();
	await keep.protect([recordRef('cache', 'k'), recordRef('cache', 'k')]);
	await lease.release();
	t.deepEqual((await store.collect()).blobs, []);
	await keep.release();
	await keep.release();
	t.deepEqual((await store.collect()).blobs, [blob]);
	await t.throwsAsync(keep.protect([blobRef(blob)]), { message: /released/ });
});

test('a blob shared by two records goes with the last of them', async (t) => {
	const { store, lease } = await openStore(t);
	const { digest: blob } = await store.blobs.put(bytes, lease);
	await lease.release();
	const records = store.records<number>('cache');
	await records.put('a', 1, { refs: [blobRef(blob)] });
	await records.put('b', 2, { refs: [blobRef(blob)] });
	await records.delete('a');
	t.deepEqual((await store.collect({ keepBytes: 100 })).blobs, []);
	await records.delete('b');
	t.deepEqual((await store.collect({ keepBytes: 100 })).blobs, [blob]);
});

test('the collector knows record tables that this process never opened', async (t) => {
	const root = await temporaryRoot(t);
	const first = Store.open(root);
	const lease = await first.lease();
	const { digest: blob } = await first.blobs.put(bytes, lease);
	await first.records<string>('somebody-elses').put('k', 'v', { refs: [blobRef(blob)] });
	await first.close();
	const second = Store.open(root);
	t.teardown(() => second.close());
	t.deepEqual((await second.collect({ keepBytes: 100 })).blobs, []);
});

test('the instance directory goes with the store, and its lease rows too', async (t) => {
	const root = await temporaryRoot(t);
	const store = Store.open(root);
	const lease = await store.lease();
	await lease.protect([blobRef(digest)]);
	t.true((await stat((await store.instance()).directory)).isDirectory());
	await store.close();
	t.deepEqual(await readdir(path.join(root, 'run')), []);
	const again = Store.open(root);
	t.teardown(() => again.close());
	t.deepEqual(await again.recover(), []);
});

test('a store of a newer obd is refused and left alone', async (t) => {
	const root = await temporaryRoot(t);
	await writeFile(path.join(root, 'format'), '7\n');
	t.throws(() => Store.open(root), { instanceOf: StoreError, message: `the store ${root} has format 7, written by a newer obd; this one knows up to 1: update obd, or give it another root` });
	await writeFile(path.join(root, 'format'), 'hello\n');
	t.throws(() => Store.open(root), { instanceOf: StoreError, message: /unknown format "hello"/ });
	t.deepEqual(await readdir(root), ['format']);
});

test('a store that cannot be opened says why and what to do', async (t) => {
	const root = await temporaryRoot(t);
	await writeFile(path.join(root, 'file'), '');
	t.throws(() => Store.open(path.join(root, 'file')), { instanceOf: StoreError, message: /cannot open the store .*file: .*ENOTDIR/ });
	await mkdir(path.join(root, 'damaged'));
	await writeFile(path.join(root, 'damaged/format'), '1\n');
	await writeFile(path.join(root, 'damaged/metadata.lmdb'), Buffer.alloc(65536, 0x41));
	t.throws(() => Store.open(path.join(root, 'damaged')), { instanceOf: StoreError, message: /cannot open the metadata database .*metadata\.lmdb: .*MDB_INVALID.*remove it/ });
});

test('a directory that holds something else is not made a store', async (t) => {
	const root = await temporaryRoot(t);
	await writeFile(path.join(root, 'precious'), 'x');
	t.throws(() => Store.open(root), { instanceOf: StoreError, message: /is not empty and holds no store/ });
	t.deepEqual(await readdir(root), ['precious']);
});

test('a trash that a killed collector left is emptied', async (t) => {
	const { store, root } = await openStore(t);
	await mkdir(path.join(root, 'trash'));
	await writeFile(path.join(root, 'trash/x'), 'y');
	await store.collect();
	t.deepEqual(await readdir(path.join(root, 'trash')), []);
});
