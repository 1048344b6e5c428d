// What every test file of builds has: a registry with a busybox base in it, and a store.
import type { ExecutionContext, TestFn } from 'ava';
import { busybox, pushBase, tarOf } from './base-images.js';
import { leftoversOf } from './build-leftovers.js';
import { makeStore, type TestStore } from './obd.js';
import { startRegistry, type TestRegistry } from './registry.js';

export interface BuildContext {
	readonly registry: TestRegistry;
	/** Shared by the file's tests, which use repositories of their own. */
	readonly store: TestStore;
	/** `HOST/base:latest`: an ordinary gzip image of busybox. */
	readonly base: string;
}

/** Sets up the fixture before the tests of a file and takes it down after them; then nothing of the store may be left. */
export function setUpBuilds(test: TestFn<BuildContext>): void {
	test.serial.before(async (t) => {
		const registry = await startRegistry();
		await pushBase(registry.host, 'base', [await tarOf(busybox())]);
		Object.assign(t.context, { registry, store: await makeStore(), base: `${registry.host}/base` });
	});
	test.after.always(async (t) => {
		const { registry, store } = t.context;
		await store?.dispose();
		await registry?.stop();
	});
}

/** A store of one test's own. */
export async function ownStore(t: ExecutionContext, options: { readonly root?: string } = {}): Promise<TestStore> {
	const store = await makeStore(options);
	t.teardown(() => store.dispose());
	return store;
}

/** Fails the test when builds have left anything behind. */
export async function nothingLeft(t: ExecutionContext, store: TestStore): Promise<void> {
	t.deepEqual(await leftoversOf(store), []);
}
