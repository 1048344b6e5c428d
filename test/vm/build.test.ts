// The main job on the device servers of the kernel: testdata/quickstart, pushed, and run from the registry; and
// builders side by side, beside another program's TCMU devices. (On fuse it needs no guest.)
import { access, mkdir, readdir, readFile, rm, rmdir, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import anyTest, { type TestFn } from 'ava';
import { nothingLeft, ownStore, setUpBuilds, type BuildContext } from '../integration/helpers/build-fixture.js';
import { build, makeContext, runObdImage, startObd, type TestStore } from '../integration/helpers/obd.js';
import { startRegistry, type TestRegistry } from '../integration/helpers/registry.js';
import { hasUblk, kernelObjects, lastingKinds, targets } from './helpers/kernel.js';

const test = anyTest as TestFn<BuildContext>;
setUpBuilds(test);

/** A build in a few steps, on a base that is small enough for an emulated machine. */
const dockerfile = `
ARG BASE
FROM \${BASE} AS build
WORKDIR /src
COPY hello.sh .
RUN sed s/GREETING/hello/ hello.sh >hello && chmod 755 hello && ./hello

FROM \${BASE}
COPY --from=build /src/hello /usr/local/bin/hello
CMD ["/usr/local/bin/hello"]
`;
const hello = '#!/bin/sh\necho GREETING\n';

const makeHello = (store: TestStore): Promise<string> => makeContext(store, { Dockerfile: dockerfile, 'hello.sh': hello });

/** Puts debian:quickstart of test/vm/make-registry into a registry, whose writes stay in the guest. */
async function lendQuickstartBase(registry: TestRegistry): Promise<string> {
	const lent = process.env['OBD_VM_REGISTRY'];
	if (lent === undefined) throw new Error('OBD_VM_REGISTRY is not set: run this with test/vm/run');
	await rm(path.join(registry.directory, 'docker'), { recursive: true, force: true });
	await symlink(path.join(lent, 'docker'), path.join(registry.directory, 'docker'));
	return `${registry.host}/debian:quickstart`;
}

for (const kind of lastingKinds) {
	test.serial(`${kind}: testdata/quickstart is built, pushed, and run from the registry`, async (t) => {
		const registry = await startRegistry();
		t.teardown(() => registry.stop());
		const base = await lendQuickstartBase(registry);
		const store = await ownStore(t);
		const { stderr } = await build(store, ['--device', kind, '--build-arg', `BASE=${base}`, '--tag', `${registry.host}/hello`, '--push', path.resolve('testdata/quickstart')]);
		t.regex(stderr, /Setting up gcc /);
		t.regex(stderr, /hello from an overlaybd image \(uid 0, in \/src, greeted by nobody\)/);
		await nothingLeft(t, store);

		const other = await ownStore(t); // so that every block comes from the registry
		const ran = await runObdImage(other, ['run', '--root', other.root, '--device', kind, `${registry.host}/hello`]);
		t.is(ran.stdout, 'hello from an overlaybd image (uid 1000, in /home/app, greeted by obd)\n', ran.stderr);
		await nothingLeft(t, other);
		t.deepEqual(await kernelObjects(), []);
	});
}

for (const kind of lastingKinds) {
	test.serial(`${kind}: builder and device server killed while a step writes: the next build clears up and works`, async (t) => {
		const store = await ownStore(t);
		const context = await makeContext(store, { Dockerfile: `FROM ${t.context.base}\nRUN echo begun; while true; do dd if=/dev/zero of=/file bs=64k count=64 conv=fsync; rm /file; done\n` });
		const victim = startObd(store, ['--device', kind, context]);
		await victim.seen(/begun/);
		const pids = (await processesOf(store.root)).map(Number);
		for (const signal of ['SIGSTOP', 'SIGKILL'] as const) for (const pid of pids) process.kill(pid, signal); // at once
		const { stderr } = await build(store, ['--device', kind, await makeContext(store, { Dockerfile: `FROM ${t.context.base}\nRUN echo built > /file\n` })]);
		t.regex(stderr, /exporting|DONE/);
		await nothingLeft(t, store);
		t.deepEqual(await kernelObjects(), []);
	});
}

test.serial('builders with stores of their own work side by side, beside the devices of another program', async (t) => {
	const { registry, base } = t.context;
	const foreign = await makeForeignTarget();
	t.teardown(foreign.remove);
	const before = await kernelObjects();
	const stores = [await ownStore(t), await ownStore(t)];
	const builds = await Promise.all(stores.map(async (store, n) => startObd(store, ['--device', 'tcmu', '--build-arg', `BASE=${base}`, '--tag', `${registry.host}/side${n}`, '--push', await makeHello(store)])));
	for (const { ended } of builds) {
		const { code, stderr } = await ended;
		t.is(code, 0, stderr);
	}
	for (const store of stores) await nothingLeft(t, store);
	t.deepEqual(await kernelObjects(), before, 'what is not ours stays, and nothing else does');
	t.regex(await readFile(path.join(foreign.backstore, 'info'), 'utf8'), /Config: overlaybd\/foreign/);
});

test.serial('obd-image doctor says what works and what is missing', async (t) => {
	const store = await ownStore(t);
	const { stdout, code } = await runObdImage(store, ['doctor']);
	t.is(code, 0);
	t.regex(stdout, hasUblk ? /ublk .*\n +works: what --device auto takes\n/ : /ublk .*\n +cannot be used: the kernel module ublk_drv is missing: /);
	t.regex(stdout, hasUblk ? /tcmu .*\n +works\n/ : /tcmu .*\n +works: what --device auto takes\n/);
	t.regex(stdout, /fuse .*\n +works\n/);
});

/** Pids of everything whose command line names a directory: builder, device server, runc. */
async function processesOf(directory: string): Promise<string[]> {
	const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name) && name !== String(process.pid));
	const isOurs = await Promise.all(pids.map(async (pid) => (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).includes(directory)));
	return pids.filter((_, n) => isOurs[n]);
}

/** A backstore and a loopback target as overlaybd-tcmu's snapshotter makes them, which no process answers for. */
async function makeForeignTarget(): Promise<{ readonly backstore: string; remove: () => Promise<void> }> {
	await access(path.join(targets, 'core'));
	const adapter = path.join(targets, 'core/user_999999999'), backstore = path.join(adapter, 'dev_1');
	const fabric = path.join(targets, 'loopback/naa.0123456789abcdef'), lun = path.join(fabric, 'tpgt_1/lun/lun_0');
	await mkdir(backstore, { recursive: true });
	await writeFile(path.join(backstore, 'control'), 'dev_config=overlaybd/foreign,dev_size=1048576');
	await writeFile(path.join(backstore, 'attrib/nl_reply_supported'), '-1');
	await writeFile(path.join(backstore, 'enable'), '1');
	for (const directory of [fabric, path.join(fabric, 'tpgt_1'), lun]) await mkdir(directory).catch(() => undefined);
	await writeFile(path.join(fabric, 'tpgt_1/nexus'), 'naa.0123456789abcdee');
	return {
		backstore,
		remove: async () => {
			for (const directory of [lun, path.join(fabric, 'tpgt_1'), fabric, backstore, adapter]) await rmdir(directory);
		},
	};
}
