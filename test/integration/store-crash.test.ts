// The store when processes share it and are killed.
import { fork, type ChildProcess } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { digestOf } from '../../src/image/index.js';
import { mount, umount } from '../../src/native/system.js';
import { blobOf, blobRef, Store, type Entry } from '../../src/store/index.js';

const victim = fileURLToPath(new URL('store-victim.js', import.meta.url));

async function temporaryRoot(t: ExecutionContext): Promise<string> {
	const root = await mkdtemp(path.join(tmpdir(), 'obd-test-store-'));
	t.teardown(() => rm(root, { recursive: true, force: true }));
	return root;
}

/** Starts a process on the store and waits until it works. */
async function start(t: ExecutionContext, root: string, ...args: string[]): Promise<ChildProcess> {
	const child = fork(victim, [root, ...args], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], execArgv: [] });
	t.teardown(() => kill(child));
	await new Promise<void>((resolve, reject) => {
		child.once('message', () => resolve());
		child.once('exit', (code, signal) => reject(new Error(`the process ended early: ${code ?? signal}`)));
	});
	return child;
}

async function kill(child: ChildProcess): Promise<void> {
	if (child.exitCode !== null || child.signalCode !== null) return;
	const ended = new Promise((resolve) => child.once('exit', resolve));
	child.kill('SIGKILL');
	await ended;
}

/** Every blob is what its name says; every record's blobs are there. */
async function checkStore(t: ExecutionContext, store: Store, root: string): Promise<number> {
	const directory = path.join(root, 'blobs/sha256');
	for (const hex of await readdir(directory)) t.is(digestOf(await readFile(path.join(directory, hex))), `sha256:${hex}`);
	let count = 0;
	for (const [key, { refs }] of store.records<Entry<number>>('cache').entries()) {
		count++;
		for (const ref of refs) t.true(await store.blobs.has(blobOf(ref) ?? ''), `${key} has lost ${ref}`);
	}
	return count;
}

test('killed writers and collectors leave a store that is whole and usable', async (t) => {
	const root = await temporaryRoot(t);
	const store = Store.open(root);
	t.teardown(() => store.close());
	let records = 0;
	for (let round = 0; round < 6; round++) {
		const children = [await start(t, root, 'write'), await start(t, root, 'write'), await start(t, root, 'collect')];
		await new Promise((resolve) => setTimeout(resolve, Math.random() * 150));
		for (const child of children) await kill(child);
		records += await checkStore(t, store, root);
		t.deepEqual(await store.recover(), []);
		await store.table<number>('alive').put('round', round);
	}
	t.true(records > 0);
	t.is(store.table<number>('alive').get('round'), 5);
	t.deepEqual(await readdir(path.join(root, 'run')), []);
	await store.collect();
	t.deepEqual(await readdir(path.join(root, 'blobs/sha256')), []);
	t.deepEqual(await readdir(path.join(root, 'trash')), []);
});

test('two processes write and collect at once, and no record loses its blobs', async (t) => {
	const root = await temporaryRoot(t);
	const store = Store.open(root);
	t.teardown(() => store.close());
	const children = [await start(t, root, 'write'), await start(t, root, 'collect')];
	const records = store.records<string>('cache');
	for (let i = 0; i < 40; i++) {
		const lease = await store.lease();
		const { digest } = await store.blobs.put(Buffer.from(`mine ${i}`), lease);
		t.true(await store.blobs.has(digest), 'a leased blob stays while others collect');
		await records.put(`mine/${i}`, 'v', { refs: [blobRef(digest)], size: 1 });
		t.true(await store.blobs.has(digest));
		await lease.release();
	}
	for (const child of children) await kill(child);
	await checkStore(t, store, root);
});

test('the lease of a living process counts, that of a dead one is dropped', async (t) => {
	const root = await temporaryRoot(t);
	const store = Store.open(root);
	t.teardown(() => store.close());
	const lease = await store.lease();
	const { digest } = await store.blobs.put(Buffer.from('held'), lease);
	const holder = await start(t, root, 'hold', digest);
	await lease.release();
	t.deepEqual(await store.recover(), []);
	t.deepEqual((await store.collect()).blobs, []);
	await kill(holder);
	t.deepEqual((await store.collect()).blobs, [], 'until somebody has looked for the dead');
	const dead: string[] = [];
	await store.recover(async ({ directory }) => void dead.push(directory));
	t.is(dead.length, 1);
	t.deepEqual((await store.collect()).blobs, [digest]);
});

test('a dead instance is given to one of those who look for it, with its files', async (t) => {
	const root = await temporaryRoot(t);
	const [one, two] = [Store.open(root), Store.open(root)];
	t.teardown(() => Promise.all([one.close(), two.close()]));
	const { digest } = await one.blobs.put(Buffer.from('x'), await one.lease());
	const child = await start(t, root, 'hold', digest);
	await kill(child);
	const own = (await one.instance()).id;
	const found: string[] = [];
	const cleanup = async ({ directory }: { directory: string }) => {
		await mkdir(path.join(directory, 'sub'), { recursive: true });
		await writeFile(path.join(directory, 'sub/left'), 'x');
		found.push(directory);
	};
	await Promise.all([one.recover(cleanup), two.recover(cleanup), one.recover(cleanup)]);
	t.is(found.length, 1);
	t.deepEqual((await readdir(path.join(root, 'run'))).sort(), [own, `${own}.lock`]);
});

test('an instance that cannot be cleaned up stays for the next start, and does not stop this one', async (t) => {
	const root = await temporaryRoot(t);
	const store = Store.open(root);
	t.teardown(() => store.close());
	await kill(await start(t, root, 'hold', digestOf('x')));
	const failures = await store.recover(async () => {
		throw new Error('device busy');
	});
	t.is(failures.length, 1);
	t.is((failures[0]?.error as Error).message, 'device busy');
	t.is((await readdir(path.join(root, 'run'))).length, 2);
	t.deepEqual(await store.recover(), []);
	t.deepEqual(await readdir(path.join(root, 'run')), []);
});

test('what is mounted in a dead instance is never removed through', async (t) => {
	const root = await temporaryRoot(t);
	const precious = path.join(root, 'precious');
	const store = Store.open(path.join(root, 'store'));
	t.teardown(() => store.close());
	await mkdir(precious);
	await writeFile(path.join(precious, 'file'), 'keep me');
	await kill(await start(t, store.root, 'hold', digestOf('x')));
	const failures = await store.recover(async ({ directory }) => {
		const target = path.join(directory, 'mnt');
		await mkdir(target);
		await mount(precious, target, '', 'bind');
		t.teardown(() => umount(target).catch(() => {}));
	});
	t.regex(String(failures[0]?.error), /is still mounted/);
	t.is(await readFile(path.join(precious, 'file'), 'utf8'), 'keep me');
	await store.recover(({ directory }) => umount(path.join(directory, 'mnt')));
	t.deepEqual(await readdir(path.join(store.root, 'run')), []);
	t.is(await readFile(path.join(precious, 'file'), 'utf8'), 'keep me');
});

test('a full disk is an error to writers, and the collector still works', async (t) => {
	const root = await temporaryRoot(t);
	await mount('tmpfs', root, 'tmpfs', 'size=6m');
	t.teardown(() => umount(root));
	const store = Store.open(path.join(root, 'store'));
	t.teardown(() => store.close());
	const lease = await store.lease();
	const error = await t.throwsAsync(async () => {
		for (let i = 0; ; i++) {
			const { digest } = await store.blobs.put(Buffer.alloc(300_000, i), lease);
			await store.records<number>('cache').put(String(i), i, { refs: [blobRef(digest)] });
		}
	}, { code: 'ENOSPC' });
	t.truthy(error);
	t.deepEqual(await readdir((await store.instance()).directory), []);
	await t.throwsAsync(store.table<string>('big').put('k', 'x'.repeat(8_000_000)), { code: 'ENOSPC', message: /metadata\.lmdb: No space left on device/ });
	await lease.release();
	const { bytes } = await store.collect();
	t.true(bytes > 0);
	await t.notThrowsAsync(store.blobs.put(Buffer.alloc(300_000), await store.lease()));
	t.throws(() => Store.open(path.join(root, 'x'.repeat(300))), { name: 'StoreError' });
});

test('a new store on a full disk is an error that says so', async (t) => {
	const root = await temporaryRoot(t);
	await mount('tmpfs', root, 'tmpfs', 'size=64k');
	t.teardown(() => umount(root));
	t.throws(() => Store.open(path.join(root, 'store')), { name: 'StoreError', message: /No space left on device|ENOSPC/ });
});

test('several processes may make the same new store at once', async (t) => {
	const root = path.join(await temporaryRoot(t), 'new');
	const children = await Promise.all(Array.from({ length: 4 }, () => start(t, root, 'write')));
	for (const child of children) await kill(child);
	const store = Store.open(root);
	t.teardown(() => store.close());
	t.true(await checkStore(t, store, root) > 0);
	await store.recover();
});
