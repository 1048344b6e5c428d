// A process that works on a store until it is killed. Arguments: root, what to do.
import { randomBytes } from 'node:crypto';
import { blobRef, Store } from '../../src/store/index.js';

const [root = '', task = ''] = process.argv.slice(2);
const store = Store.open(root);
const records = store.records<number>('cache');

/** Blobs and records about them, as builds make them; some replaced, some dropped. */
async function write(): Promise<void> {
	for (let i = 0; ; i++) {
		const lease = await store.lease();
		const blob = await store.blobs.put(randomBytes(1 + i % 5000), lease);
		await records.put(`${process.pid}/${i % 20}`, i, { refs: [blobRef(blob.digest)], size: 1 });
		if (i % 7 === 0) await records.delete(`${process.pid}/${(i + 3) % 20}`);
		await records.touch([`${process.pid}/${i % 20}`]);
		await lease.release();
		if (i === 3) process.send?.('working');
	}
}

async function collect(): Promise<void> {
	for (let i = 0; ; i++) {
		await store.collect({ keepBytes: 20_000 });
		await store.recover();
		if (i === 1) process.send?.('working');
	}
}

/** Holds a lease on the blob named by the third argument. */
async function hold(): Promise<void> {
	await (await store.lease()).protect([blobRef(process.argv[4] ?? '')]);
	process.send?.('working');
	setInterval(() => {}, 1000);
}

const tasks = { write, collect, hold };
await tasks[task as keyof typeof tasks]();
