// The system calls behind src/native/system.ts. Needs root.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import anyTest, { type TestFn } from 'ava';
import { clearLoopDevice, freeze, listLoopDevices, makePrivate, mount, parseMountInfo, processStartTime, readMounts, syncfs, thaw, tryLockFile, umount } from '../../src/native/system.js';

const run = promisify(execFile);
const test = anyTest as TestFn<{ dir: string }>;

test.beforeEach(async (t) => {
	t.context = { dir: await mkdtemp(path.join(tmpdir(), 'obd-system-')) };
});

test.afterEach.always(async (t) => {
	await rm(t.context.dir, { recursive: true, force: true });
});

test('mountinfo is read with its escapes and optional fields', (t) => {
	const text = [
		'36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue',
		'37 35 7:3 / /a\\040b\\134c\\011d rw shared:7 master:8 propagate_from:2 - ext4 /dev/loop\\0403 rw',
		'38 35 0:5 / /none rw - tmpfs none rw',
		'',
		'nonsense',
	].join('\n');
	t.deepEqual(parseMountInfo(text), [
		{ device: '98:0', root: '/mnt1', mountPoint: '/mnt2', type: 'ext3', source: '/dev/root' },
		{ device: '7:3', root: '/', mountPoint: '/a b\\c\td', type: 'ext4', source: '/dev/loop 3' },
		{ device: '0:5', root: '/', mountPoint: '/none', type: 'tmpfs', source: 'none' },
	]);
});

/** A new cgroup that can limit the number of threads: cgroup v1, or v2 with that controller. */
async function pidsCgroup(name: string): Promise<string> {
	const v1 = (await readMounts()).find(({ mountPoint, type }) => type === 'cgroup' && path.basename(mountPoint) === 'pids');
	const parent = v1?.mountPoint ?? '/sys/fs/cgroup';
	if (!v1) await writeFile(path.join(parent, 'cgroup.subtree_control'), '+pids');
	await mkdir(path.join(parent, name));
	return path.join(parent, name);
}

test('where no thread can be started, calls fail with the reason, and the process lives', async (t) => {
	const cgroup = await pidsCgroup(`obd-threads-${process.pid}`);
	t.teardown(() => rmdir(cgroup));
	const { stdout } = await run(process.execPath, [fileURLToPath(new URL('system-no-threads.js', import.meta.url)), cgroup]);
	t.deepEqual(JSON.parse(stdout), {
		job: 'EAGAIN: cannot start a thread: Resource temporarily unavailable',
		child: 'EAGAIN: cannot start a thread: Resource temporarily unavailable',
		left: '',
		after: 'done',
	});
});

test('mount options are flags or go to the file system; what is busy is said or detached', async (t) => {
	const target = path.join(t.context.dir, 'a place');
	await mkdir(target);
	await mount('none', target, 'tmpfs', 'ro,nosuid,size=64k,mode=700');
	const entry = (await readMounts()).find((entry) => entry.mountPoint === target);
	t.is(entry?.type, 'tmpfs');
	t.is((await stat(target)).mode & 0o777, 0o700);
	await t.throwsAsync(writeFile(path.join(target, 'x'), ''), { code: 'EROFS' });
	await mount('none', target, '', 'remount,rw');
	await writeFile(path.join(target, 'x'), '');
	await makePrivate(target);

	const holder = spawn('sleep', ['1000'], { cwd: target, stdio: 'ignore' });
	await once(holder, 'spawn');
	await t.throwsAsync(umount(target), { code: 'EBUSY', message: new RegExp(`unmount ${target}`) });
	await umount(target, { detach: true });
	t.false((await readMounts()).some((entry) => entry.mountPoint === target));
	holder.kill();
	await once(holder, 'exit');
	await t.throwsAsync(umount(target), { code: 'EINVAL' });
	await t.throwsAsync(mount('none', target, 'no-such-fs'), { code: 'ENODEV', message: /no-such-fs/ });
	await t.throwsAsync(syncfs(path.join(target, 'missing')), { code: 'ENOENT', message: /missing/ });
});

test('a frozen file system keeps its writers waiting until it is thawed', async (t) => {
	const { dir } = t.context;
	const image = path.join(dir, 'image');
	const target = path.join(dir, 'mnt');
	await mkdir(target);
	await run('mke2fs', ['-q', '-t', 'ext4', image, '16m'], { env: { PATH: '/usr/sbin:/sbin:/usr/bin:/bin' } });
	const device = (await run('losetup', ['--find', '--show', image])).stdout.trim();
	const number = Number(device.replace('/dev/loop', ''));
	t.true((await listLoopDevices()).some((loop) => loop.number === number && loop.label === image));
	await mount(device, target, 'ext4');
	await freeze(target);
	let written = false;
	const write = run('touch', [path.join(target, 'file')]).then(() => (written = true));
	await t.throwsAsync(freeze(target), { code: 'EBUSY' });
	t.false(written);
	await thaw(target);
	await write;
	await t.throwsAsync(thaw(target), { code: 'EINVAL' });
	await umount(target);
	await clearLoopDevice(number);
	await clearLoopDevice(number);
	t.false((await listLoopDevices()).some((loop) => loop.number === number && loop.label === image));
});

test('one holder has a file lock; it ends with its release, or with a process that inherited it', async (t) => {
	const file = path.join(t.context.dir, 'lock');
	const lock = await tryLockFile(file);
	t.truthy(lock);
	t.is(await tryLockFile(file), undefined);
	const heir = spawn('sleep', ['1000'], { stdio: ['ignore', 'ignore', 'ignore', lock?.fd ?? 'ignore'] });
	await once(heir, 'spawn');
	await lock?.release();
	await lock?.release();
	t.is(await tryLockFile(file), undefined, 'the child has it');
	heir.kill('SIGKILL');
	await once(heir, 'exit');
	const next = await tryLockFile(file);
	t.truthy(next);
	await rm(file);
	t.truthy(await tryLockFile(file).then((other) => other?.release().then(() => true)), 'another file of the same name');
	await next?.release();
	await t.throwsAsync(tryLockFile(path.join(t.context.dir, 'no', 'lock')), { code: 'ENOENT' });
});

test('a process is told from a later one with the same pid', async (t) => {
	const own = await processStartTime(process.pid);
	t.true((own ?? 0) > 0);
	const child = spawn('sleep', ['1000'], { stdio: 'ignore' });
	await once(child, 'spawn');
	t.true(((await processStartTime(child.pid ?? 0)) ?? 0) >= (own ?? 0));
	child.kill('SIGKILL');
	await once(child, 'exit');
	t.is(await processStartTime(child.pid ?? 0), undefined);
});
