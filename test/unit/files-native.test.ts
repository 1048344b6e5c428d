// The files room as TypeScript uses it: values across the boundary, errors, cancelling, streaming. What the
// functions do to files in detail is tested natively (native/test/files_*_test.cc).
import { execFileSync, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import test from 'ava';
import {
	FileProgress,
	FileTree,
	TarSink,
	ensureMountpoint,
	exportTree,
	goFileMode,
	isArchive,
	readDirInRoot,
	readFileInRoot,
	removeCreated,
	removeTree,
	resolveInRoot,
	runFileActions,
	statInRoot,
	unpackTar,
	writeChangeset,
	writeRootTar,
	type FileAction,
} from '../../src/native/files.js';

interface Scratch {
	readonly at: (...parts: string[]) => string;
	readonly dir: (...parts: string[]) => string;
	readonly file: (name: string, content: string | Uint8Array) => void;
}

function scratch(t: { teardown(fn: () => void): void }): Scratch {
	const root = mkdtempSync(path.join(tmpdir(), 'obd-files-'));
	t.teardown(() => { rmSync(root, { recursive: true, force: true }); });
	const at = (...parts: string[]): string => path.join(root, ...parts);
	const dir = (...parts: string[]): string => {
		mkdirSync(at(...parts), { recursive: true });
		return at(...parts);
	};
	return {
		at,
		dir,
		file: (name, content) => {
			mkdirSync(path.dirname(at(name)), { recursive: true });
			writeFileSync(at(name), content);
		},
	};
}

const sha256 = (data: Uint8Array): string => `sha256:${createHash('sha256').update(data).digest('hex')}`;

test('a filtered view is hashed and copied', async (t) => {
	const s = scratch(t);
	s.file('ctx/keep/a.txt', 'a');
	s.file('ctx/keep/b.log', 'b');
	s.file('ctx/node_modules/x', 'x');
	const view = { root: s.at('ctx'), excludePatterns: ['node_modules', '**/*.log'], resetOwner: true };
	const tree = await FileTree.open(view);
	const [all, keep] = await tree.checksums([{}, { path: '/keep' }]);
	t.regex(all ?? '', /^sha256:[0-9a-f]{64}$/);
	t.not(all, keep);
	s.file('ctx/node_modules/x', 'changed');
	t.is(await (await FileTree.open(view)).checksum(), all ?? '');

	const progress = new FileProgress();
	const actions: FileAction[] = [
		{ type: 'mkdir', path: '/opt/app', mode: 0o755, makeParents: true, owner: { uid: 7, gid: 8 }, timestamp: 1_234_567_890_123_456_789n },
		{ type: 'copy', source: tree, src: '/', dest: '/opt/app/', dirCopyContents: true, createDestPath: true },
		{ type: 'copy', source: tree, src: '/keep/a.txt', dest: '/one', modeStr: 'u=rw,go=', createDestPath: true },
		{ type: 'mkfile', path: '/opt/note', mode: 0o600, data: Buffer.from('note') },
		{ type: 'symlink', oldPath: 'note', newPath: '/opt/link' },
		{ type: 'rm', path: '/opt/app/keep/b*', allowWildcard: true },
	];
	await runFileActions(s.dir('out'), actions, { progress });
	t.is(readFileSync(s.at('out/opt/app/keep/a.txt'), 'utf8'), 'a');
	t.false(existsSync(s.at('out/opt/app/keep/b.log')));
	t.is(statSync(s.at('out/opt/app')).uid, 7);
	t.is(lstatSync(s.at('out/one')).mode & 0o777, 0o600);
	t.is(readlinkSync(s.at('out/opt/link')), 'note');
	t.is(progress.files, 3);
	t.is(progress.bytes, 6);
	tree.close();
	tree.close();
	await t.throwsAsync(() => tree.checksum(), { message: 'the file tree is closed' });
});

test('errors carry the text and the code', async (t) => {
	const s = scratch(t);
	s.file('ctx/f', 'f');
	const tree = await FileTree.open({ root: s.at('ctx') });
	await t.throwsAsync(() => tree.checksum({ path: '/missing' }), { message: '"/missing": not found', code: 'ENOENT' });
	await t.throwsAsync(() => FileTree.open({ root: s.at('none') }), { message: /no such file or directory/, code: 'ENOENT' });
	await t.throwsAsync(() => FileTree.open({ root: s.at('ctx'), excludePatterns: ['['] }), { message: /syntax error in pattern/ });
	await t.throwsAsync(() => runFileActions(s.dir('out'), [{ type: 'copy', source: tree, src: '/f', dest: '/', modeStr: 'nonsense' }]), { message: 'invalid syntax' });
	await t.throwsAsync(() => runFileActions(s.at('out'), [{ type: 'mkdir', path: '/a/b', mode: 0o755 }]), { message: 'mkdir /a/b: no such file or directory', code: 'ENOENT' });
	await t.throwsAsync(async () => readFileInRoot(s.at('ctx'), 'a\0b'), { message: /NUL/ });
	await t.throwsAsync(() => readFileInRoot(s.at('ctx'), '/../../etc/hostname'), { code: 'ENOENT' });
});

test('aborting ends the work', async (t) => {
	const s = scratch(t);
	s.file('ctx/f', randomBytes(1 << 20));
	const tree = await FileTree.open({ root: s.at('ctx') });
	await t.throwsAsync(() => tree.checksum({}, { signal: AbortSignal.abort() }), { message: 'context canceled', code: 'ECANCELED' });
	const controller = new AbortController();
	const copy = runFileActions(s.dir('out'), [{ type: 'copy', source: tree, src: '/', dest: '/', dirCopyContents: true }], { signal: controller.signal });
	controller.abort();
	const outcome = await copy.then(() => 'done', (error: NodeJS.ErrnoException) => error.code);
	t.true(outcome === 'done' || outcome === 'ECANCELED');
	t.regex(await tree.checksum(), /^sha256:/);
});

test('a tar is unpacked while it arrives', async (t) => {
	const s = scratch(t);
	const noise = randomBytes(3 << 20);
	s.file('in/dir/noise', noise);
	s.file('in/text', 'text');
	execFileSync('tar', ['-C', s.at('in'), '-czf', s.at('t.tgz'), '.']);
	const archive = readFileSync(s.at('t.tgz'));
	const sink = await TarSink.open(s.dir('out'), 'layer');
	for (let i = 0; i < archive.length; i += 60_001) await sink.write(archive.subarray(i, i + 60_001));
	const result = await sink.end();
	t.is(result.digest, sha256(archive));
	t.is(result.diffId, sha256(gunzipSync(archive)));
	t.is(result.size, archive.length);
	t.is(result.files, 4);
	t.deepEqual(readFileSync(s.at('out/dir/noise')), noise);
	await t.throwsAsync(() => sink.write(archive), { message: 'the tar sink is closed' });
	await sink.abort();
});

test('a sink that fails says why, and one that is aborted stops', async (t) => {
	const s = scratch(t);
	const bad = await TarSink.open(s.dir('bad'), 'archive');
	await bad.write(Buffer.from('x'.repeat(2000)));
	await t.throwsAsync(() => bad.end(), { message: /archive\/tar: invalid tar header/ });
	await bad.abort();

	const sink = await TarSink.open(s.dir('aborted'), 'layer');
	await sink.write(Buffer.alloc(100, 1));
	await sink.abort();
	await sink.abort();
	await t.throwsAsync(() => sink.end(), { message: 'the tar sink is closed' });
	await t.throwsAsync(() => TarSink.open(s.at('none'), 'layer'), { code: 'ENOENT' });
});

test('changesets, root tars and exports of the same tree', async (t) => {
	const s = scratch(t);
	s.file('lower/a', 'a');
	s.file('lower/b', 'b');
	execFileSync('cp', ['-a', s.at('lower'), s.at('upper')]);
	rmSync(s.at('upper/b'));
	s.file('upper/c', 'c');
	const change = await writeChangeset({ lower: s.at('lower'), upper: s.at('upper'), out: s.at('l.tar'), compression: 'gzip', sourceDateEpoch: 1 });
	const blob = readFileSync(s.at('l.tar'));
	t.is(change.digest, sha256(blob));
	t.is(change.diffId, sha256(gunzipSync(blob)));
	t.is(change.size, blob.length);
	t.deepEqual(execFileSync('tar', ['-tf', s.at('l.tar')], { encoding: 'utf8' }).trim().split('\n'), ['.wh.b', 'c']);
	await unpackTar(s.at('l.tar'), s.at('lower'), { mode: 'layer' });
	t.false(existsSync(s.at('lower/b')));
	t.is(statSync(s.at('lower/c')).mtimeMs, 1000);

	s.dir('upper/lost+found');
	await writeRootTar({ root: s.at('upper'), out: s.at('root.tar') });
	t.deepEqual(execFileSync('tar', ['-tf', s.at('root.tar')], { encoding: 'utf8' }).trim().split('\n'), ['a', 'c']);
	await exportTree({ root: s.at('upper'), dest: s.dir('local') });
	t.is(readFileSync(s.at('local/c'), 'utf8'), 'c');
	t.false(existsSync(s.at('local/lost+found')));
	t.is(statSync(s.at('local/c')).uid, process.getuid?.() ?? -1);

	await t.throwsAsync(() => writeChangeset({ upper: s.at('none'), out: s.at('x'), compression: 'zstd' }), { code: 'ENOENT' });
	t.false(existsSync(s.at('x')));
	await t.throwsAsync(() => writeChangeset({ upper: s.at('upper'), out: s.at('no/dir/x'), compression: 'zstd' }), { code: 'ENOENT' });
});

test('archives are told from other files', async (t) => {
	const s = scratch(t);
	s.file('root/f', 'f');
	execFileSync('tar', ['-C', s.at('root'), '-cJf', s.at('root/t.tar.xz'), 'f']);
	t.true(await isArchive(s.at('root'), '/t.tar.xz'));
	t.false(await isArchive(s.at('root'), '/f'));
	t.false(await isArchive(s.at('root'), '/'));
	t.false(await isArchive(s.at('root'), '/missing'));
});

test('a root is looked at without leaving it', async (t) => {
	const s = scratch(t);
	s.file('root/etc/passwd', 'root:x:0:0');
	s.file('root/etc/group', 'g');
	symlinkSync('/etc', s.at('root/abs'));
	chmodSync(s.at('root/etc'), 0o1777);
	t.is((await readFileInRoot(s.at('root'), '/abs/passwd')).toString(), 'root:x:0:0');
	t.is((await readFileInRoot(s.at('root'), '/abs/passwd', { offset: 5, length: 1 })).toString(), 'x');
	await t.throwsAsync(() => readFileInRoot(s.at('root'), '/abs/passwd', { maxBytes: 3 }), { code: 'EFBIG' });
	t.is((await statInRoot(s.at('root'), '/abs')).linkname, '/etc');
	const etc = await statInRoot(s.at('root'), '/abs', { follow: true });
	t.is(goFileMode(etc.mode), 2 ** 31 + 2 ** 20 + 0o777);
	t.is(typeof etc.mtimeNs, 'bigint');
	t.deepEqual((await readDirInRoot(s.at('root'), '/abs')).map((entry) => entry.path), ['group', 'passwd']);
	t.deepEqual((await readDirInRoot(s.at('root'), '/etc', 'pass*')).map((entry) => entry.path), ['passwd']);
	t.is(await resolveInRoot(s.at('root'), '/abs/../abs/group'), s.at('root/etc/group'));
	await t.throwsAsync(() => resolveInRoot(s.at('root'), '/abs/none'), { message: 'lstat /abs/none: no such file or directory', code: 'ENOENT' });
});

test('a root is not left while somebody swaps its directories for links', async (t) => {
	const s = scratch(t);
	s.file('root/a/secret', 'inside');
	s.dir('outside');
	s.file('outside/secret', 'outside');
	// As a container does that has the root mounted while files are read from it, or a mount point is made in it.
	symlinkSync(s.at('outside'), s.at('root/b'));
	const renameat2 = process.arch === 'x64' ? '316' : '276';
	const swapping = spawn('perl', ['-e', 'chdir $ARGV[0]; my ($a, $b) = ("a", "b"); syscall($ARGV[1], -100, $a, -100, $b, 2) while 1', s.at('root'), renameat2], { stdio: 'ignore' });
	const ended = once(swapping, 'exit');
	t.teardown(async () => {
		swapping.kill('SIGKILL');
		// The directories are removed next, which fails while they are still swapped.
		await ended;
	});
	let read = 0;
	for (let i = 0; i < 2000 || read === 0; i++) {
		const text = await readFileInRoot(s.at('root'), '/a/secret').then(String, () => undefined);
		if (text !== undefined) read++;
		if (text !== undefined && text !== 'inside') t.fail(`read ${text}`);
		const made = await ensureMountpoint(s.at('root'), '/a/deep/file', 'file').catch(() => []);
		await removeCreated(s.at('root'), made).catch(() => undefined);
	}
	t.deepEqual(readdirSync(s.at('outside')), ['secret']);
});

test('mount points come and go, trees are removed', async (t) => {
	const s = scratch(t);
	s.dir('root/etc');
	const created = await ensureMountpoint(s.at('root'), '/etc/deep/resolv.conf', 'file');
	t.deepEqual(created, ['/etc/deep', '/etc/deep/resolv.conf']);
	t.deepEqual(await ensureMountpoint(s.at('root'), '/etc/deep/resolv.conf', 'file'), []);
	await t.throwsAsync(() => ensureMountpoint(s.at('root'), '/etc', 'file'), { code: 'EISDIR' });
	await removeCreated(s.at('root'), created);
	t.false(existsSync(s.at('root/etc/deep')));
	s.file('outside', 'stays');
	symlinkSync(s.at('outside'), s.at('root/link'));
	await removeTree(s.at('root'));
	await removeTree(s.at('root'));
	t.false(existsSync(s.at('root')));
	t.is(readFileSync(s.at('outside'), 'utf8'), 'stays');
});
