// Operations of LLB that no Dockerfile instruction is: diff, merge of what was removed, build, passthrough.
import { execFileSync } from 'node:child_process';
import { cp, mkdir, readFile, readdir, symlink } from 'node:fs/promises';
import path from 'node:path';
import anyTest, { type TestFn } from 'ava';
import { build as buildOp, diff, fileActions, image, local, marshal, merge, pb, scratch, type State } from '../../src/llb/index.js';
import { nothingLeft, setUpBuilds, type BuildContext } from './helpers/build-fixture.js';
import { solveDefinition, solveState } from './helpers/llb.js';
import { build, makeContext, runObd } from './helpers/obd.js';

const test = anyTest as TestFn<BuildContext>;
setUpBuilds(test);

const text = (content: string): Uint8Array => Buffer.from(content);

/** Files of a directory with their contents, directories with a slash. */
async function tree(directory: string, prefix = ''): Promise<Record<string, string>> {
	const found: Record<string, string> = {};
	for (const entry of await readdir(path.join(directory, prefix), { withFileTypes: true })) {
		const name = path.join(prefix, entry.name);
		if (entry.isDirectory()) Object.assign(found, { [`${name}/`]: '' }, await tree(directory, name));
		else found[name] = await readFile(path.join(directory, name), 'utf8');
	}
	return found;
}

const base = (): State => scratch()
	.file(fileActions().mkdir('/dir', 0o755).mkfile('/dir/kept', 0o644, text('kept')).mkfile('/dir/removed', 0o644, text('x')).mkfile('/changed', 0o644, text('before')));
const changed = (): State => base()
	.file(fileActions().rm('/dir/removed').mkfile('/changed', 0o644, text('after')).mkfile('/added', 0o600, text('new')));

test.serial('diff is what was added and changed', async (t) => {
	const { store } = t.context;
	t.deepEqual(await tree((await solveState(store, diff(base(), changed()))).directory), { 'added': 'new', 'changed': 'after', 'dir/': '' }, 'a directory something was removed from has changed');
	t.deepEqual(await tree((await solveState(store, diff(base(), base()))).directory), {});
	t.deepEqual(await tree((await solveState(store, diff(scratch(), base()))).directory), await tree((await solveState(store, base())).directory));
	const unrelated = scratch().file(fileActions().mkfile('/changed', 0o644, text('after')).mkfile('/other', 0o644, text('o')));
	t.deepEqual(await tree((await solveState(store, diff(base(), unrelated))).directory), { changed: 'after', other: 'o' });
	await nothingLeft(t, store);
});

test.serial('a diff merged onto another file system takes away what it removed, from the cache too', async (t) => {
	const { store } = t.context;
	const other = scratch().file(fileActions().mkdir('/dir', 0o700).mkfile('/dir/removed', 0o644, text('other')).mkfile('/mine', 0o644, text('mine')));
	const expected = { 'added': 'new', 'changed': 'after', 'dir/': '', 'mine': 'mine' };
	for (const run of ['first', 'second']) {
		const { directory, ran } = await solveState(store, merge([other, diff(base(), changed())]));
		t.deepEqual(await tree(directory), expected, run);
		t.is(ran.length > 0, run === 'first');
	}
	// The diff alone comes from the cache and still knows what it removed.
	t.deepEqual(await tree((await solveState(store, merge([other, diff(base(), changed())]).file(fileActions().mkfile('/last', 0o644, text(''))))).directory), { ...expected, last: '' });
	const third = scratch().file(fileActions().mkdir('/dir', 0o755).mkfile('/dir/removed', 0o644, text('third')));
	t.deepEqual(await tree((await solveState(store, merge([third, merge([scratch(), diff(base(), changed())])]))).directory), { 'added': 'new', 'changed': 'after', 'dir/': '' });
	await nothingLeft(t, store);
});

test.serial('what a merge removed is removed when a step worked on the merged result and that is merged again', async (t) => {
	const { store } = t.context;
	const other = scratch().file(fileActions().mkdir('/dir', 0o755).mkfile('/dir/removed', 0o644, text('other')).mkfile('/mine', 0o644, text('mine')));
	const bare = scratch().file(fileActions().mkfile('/bare', 0o644, text('bare')));
	const step = (state: State): State => state.file(fileActions().mkfile('/step', 0o644, text('step')));
	const worked = (): State => step(merge([bare, diff(base(), changed())]));
	const expected = { 'added': 'new', 'bare': 'bare', 'changed': 'after', 'dir/': '', 'mine': 'mine', 'step': 'step' };
	// Made, and from the cache.
	t.deepEqual(await tree((await solveState(store, worked())).directory), { 'added': 'new', 'bare': 'bare', 'changed': 'after', 'dir/': '', 'step': 'step' });
	t.deepEqual(await tree((await solveState(store, merge([other, worked()]))).directory), expected, 'merged');
	t.deepEqual(await tree((await solveState(store, merge([other, bare, step(merge([scratch(), diff(base(), changed())]))]))).directory), expected, 'merged from the diff alone');
	t.deepEqual(await tree((await solveState(store, merge([other, diff(bare, worked())]))).directory), { 'added': 'new', 'changed': 'after', 'dir/': '', 'mine': 'mine', 'step': 'step' }, 'the difference of it');
	await nothingLeft(t, store);
});

test.serial('merge and diff: a file for a directory and a directory for a file, links, merges of merges', async (t) => {
	const { store } = t.context;
	const a = scratch().file(fileActions().mkdir('/d/sub', 0o755, { makeParents: true }).mkfile('/d/sub/f', 0o644, text('a')).mkfile('/k', 0o644, text('a')));
	const swapped = a.file(fileActions().rm('/d').mkfile('/d', 0o644, text('file')).rm('/k').mkdir('/k', 0o755).mkfile('/k/in', 0o644, text('in')));
	const other = scratch().file(fileActions().mkdir('/d/sub', 0o755, { makeParents: true }).mkfile('/d/sub/other', 0o644, text('o')).mkfile('/k', 0o644, text('o')).mkfile('/z', 0o644, text('z')));
	t.deepEqual(await tree((await solveState(store, merge([other, diff(a, swapped)]))).directory), { 'd': 'file', 'k/': '', 'k/in': 'in', 'z': 'z' });
	// A removal counts once: what a later input brings again stays.
	const gone = diff(other, other.file(fileActions().rm('/z').rm('/k')));
	t.deepEqual(await tree((await solveState(store, merge([merge([other, gone]), merge([scratch(), other])]))).directory), await tree((await solveState(store, other)).directory));
	t.deepEqual(await tree((await solveState(store, merge([merge([other, other]), merge([gone, gone])]))).directory), { 'd/': '', 'd/sub/': '', 'd/sub/other': 'o' });
	// To nothing: everything is removed.
	t.deepEqual(await tree((await solveState(store, merge([other, diff(other, scratch())]))).directory), {});
	await nothingLeft(t, store);
});

test.serial('merge: the later input wins, of directories all entries stay', async (t) => {
	const { store } = t.context;
	const a = scratch().file(fileActions().mkdir('/d', 0o755).mkfile('/d/a', 0o644, text('a')).mkfile('/same', 0o644, text('a')).mkfile('/kind', 0o644, text('file')));
	const b = scratch().file(fileActions().mkdir('/d', 0o700).mkfile('/d/b', 0o644, text('b')).mkfile('/same', 0o644, text('b')).mkdir('/kind', 0o755));
	t.deepEqual(await tree((await solveState(store, merge([a, b]))).directory), { 'd/': '', 'd/a': 'a', 'd/b': 'b', 'kind/': '', 'same': 'b' });
	t.deepEqual(await tree((await solveState(store, merge([b, a, scratch()]))).directory), { 'd/': '', 'd/a': 'a', 'd/b': 'b', 'kind': 'file', 'same': 'a' });
	await nothingLeft(t, store);
});

test.serial('build solves the definition it finds in a file', async (t) => {
	const { store, base: busybox } = t.context;
	const inner = scratch().file(fileActions().mkfile('/inner', 0o644, text('built inside')));
	const definition = scratch().file(fileActions().mkfile('/llb', 0o644, pb.Definition.encode(marshal(inner)).finish()).mkfile('/broken', 0o644, text('no llb')));
	const { directory, ran } = await solveState(store, buildOp(definition, { filename: 'llb' }));
	t.deepEqual(await tree(directory), { inner: 'built inside' });
	t.true(ran.some((name) => name.includes('/inner')), 'its vertices are seen');
	t.deepEqual((await solveState(store, buildOp(definition, { filename: 'llb' }))).ran, []);
	await t.throwsAsync(solveState(store, buildOp(definition, { filename: 'missing' })), { message: /missing: no such file or directory/ });
	await t.throwsAsync(solveState(store, buildOp(definition, { filename: 'broken' })), { message: /broken is no LLB definition/ });
	const failing = marshal(image(`${busybox}-none`).file(fileActions().mkfile('/x', 0o644, text(''))));
	const nested = scratch().file(fileActions().mkfile('/buildkit.llb.definition', 0o644, pb.Definition.encode(failing).finish()));
	await t.throwsAsync(solveState(store, buildOp(nested)), { message: /base-none.*not found/ });
	await nothingLeft(t, store);
});

test.serial('a directory of the client can be merged, changed, and be the result', async (t) => {
	const { store } = t.context;
	const directory = await makeContext(store, { 'a': 'a', 'sub/b': 'b' });
	await symlink('a', path.join(directory, 'link'));
	const options = { localDirectories: { mine: directory } };
	const mine = local('mine', { excludePatterns: ['link'] });
	t.deepEqual(await tree((await solveState(store, mine, options)).directory), { 'a': 'a', 'sub/': '', 'sub/b': 'b' });
	t.deepEqual(await tree((await solveState(store, merge([base(), mine]).file(fileActions().rm('/dir')), options)).directory), { 'a': 'a', 'changed': 'before', 'sub/': '', 'sub/b': 'b' });
	t.deepEqual(await tree((await solveState(store, mine.file(fileActions().rm('/sub')), options)).directory), { a: 'a' });
	await nothingLeft(t, store);
});

test.serial('what obd does not have is refused before anything runs', async (t) => {
	const { store } = t.context;
	const withCap = (cap: string): pb.Definition => {
		const definition = marshal(base());
		for (const metadata of definition.metadata.values()) metadata.caps.set(cap, true);
		return definition;
	};
	await t.throwsAsync(solveDefinition(store, withCap('source.git.bundle')), { message: 'failed to load LLB: requested feature source.git.bundle is not supported by build server' });
	await t.throwsAsync(solveDefinition(store, withCap('no.such.thing')), { message: 'failed to load LLB: unknown API capability no.such.thing' });
	const unknown = pb.Op.create({ inputs: [], op: { $case: 'source', source: { identifier: 'ftp://x/y', attrs: new Map() } } });
	const bytes = pb.Op.encode(unknown).finish();
	const { digestOf } = await import('../../src/llb/index.js');
	const last = pb.Op.encode(pb.Op.create({ inputs: [{ digest: digestOf(bytes), index: 0 }] })).finish();
	await t.throwsAsync(solveDefinition(store, pb.Definition.create({ def: [bytes, last] })), { message: /source ftp:\/\/x\/y: obd has no source of kind ftp/ });
	await nothingLeft(t, store);
});

test.serial('RUN --mount=type=ssh: an agent with a key, for listing and signing only', async (t) => {
	const { store, base: busybox } = t.context;
	const context = await makeContext(store, { Dockerfile: `FROM ${busybox}
COPY tools /
RUN --mount=type=ssh,mode=0666,uid=1000 stat -c '%a %u:%g' $SSH_AUTH_SOCK > /socket && ssh-add -l > /keys && ! ssh-add -D && ssh-add -l
RUN --mount=type=ssh,id=other if [ -S "$SSH_AUTH_SOCK" ]; then echo there > /other; fi
` });
	// The host's ssh-add, with the libraries it needs where it looks for them.
	const program = '/usr/bin/ssh-add';
	const libraries = execFileSync('ldd', [program], { encoding: 'utf8' }).match(/\/\S+/g) ?? [];
	for (const file of [program, ...libraries]) {
		const target = path.join(context, 'tools', file === program ? '/bin/ssh-add' : file);
		await mkdir(path.dirname(target), { recursive: true });
		await cp(file, target, { dereference: true });
	}
	const key = path.join(store.directory, 'id');
	execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'lent key', '-f', key]);
	const out = path.join(store.directory, 'out-ssh');
	await build(store, ['--ssh', `default=${key}`, '-o', out, context]);
	t.regex(await readFile(path.join(out, 'keys'), 'utf8'), /^256 SHA256:\S+ lent key \(ED25519\)\n$/);
	t.is(await readFile(path.join(out, 'socket'), 'utf8'), '666 1000:0\n');
	t.false((await readdir(out)).includes('other'), 'an agent that is not required may be missing');

	const required = await makeContext(store, { Dockerfile: `FROM ${busybox}\nRUN --mount=type=ssh,required=true true\n` });
	t.regex((await runObd(store, [required])).stderr, /unset ssh forward key default/);
	execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', 'secret', '-f', `${key}-locked`]);
	t.regex((await runObd(store, ['--ssh', `default=${key}-locked`, required])).stderr, /failed to parse .*id-locked/);
	await nothingLeft(t, store);
});
