import { createHash } from 'node:crypto';
import test from 'ava';
import {
	Definition, DefinitionError, digestOf, fileActions, image, loadDefinition, local, marshal, merge, diff, Op, scratch, stateFromDefinition,
} from '../../src/llb/index.js';
import type { State } from '../../src/llb/index.js';

const options = { platform: { os: 'linux', architecture: 'amd64' }, localUniqueId: 'test' };

/** base image, one run with mounts, a copy from a local directory. */
function sample(): State {
	const context = local('context', { includePatterns: ['a'], name: '[internal] load build context' });
	const base = image('busybox', { resolveMode: 'pull', name: '[1/3] FROM busybox' });
	const ran = base.addEnv([['A', '1'], ['B', '2'], ['A', '3']]).dir('work').run({
		args: ['/bin/sh', '-c', 'true'],
		mounts: [
			{ target: '/z', source: context, readonly: true },
			{ target: '/cache', cache: { id: 'c', sharing: 'locked' } },
			{ target: '/b', source: scratch() },
		],
		secrets: [{ id: 'token', env: 'TOKEN' }],
		name: '[2/3] RUN true',
	});
	return ran.root.file(fileActions().mkdir('d', 0o7755).copy(context, 'a', '/dst/', { allowWildcard: true, owner: { user: 'bin', group: 7 } }));
}

test('marshalling is deterministic and survives the wire', (t) => {
	const definition = marshal(sample(), options);
	const bytes = Definition.encode(definition).finish();
	t.deepEqual(Definition.encode(marshal(sample(), options)).finish(), bytes);
	const graph = loadDefinition(Definition.decode(bytes));
	t.deepEqual(graph.vertices.map((vertex) => vertex.name), [
		'[1/3] FROM busybox', '[internal] load build context', '[2/3] RUN true', 'mkdir /work/d, copy /a /dst/',
	]);
	t.is(graph.result?.vertex, graph.vertices[3]);
	for (const vertex of graph.vertices) {
		const encoded = Op.encode(vertex.op).finish();
		t.is(vertex.digest, `sha256:${createHash('sha256').update(encoded).digest('hex')}`, 'decoding loses nothing');
	}
});

test('oneofs are written after all other fields, as Go does, so that digests agree', (t) => {
	const definition = marshal(image('busybox'), options);
	const bytes = Buffer.from(definition.def[0] ?? []);
	// platform (10), constraints (11), source (3)
	t.is(bytes.toString('hex'), Buffer.concat([
		Buffer.from([0x52, 0x0e, 0x0a, 0x05]), Buffer.from('amd64'), Buffer.from([0x12, 0x05]), Buffer.from('linux'),
		Buffer.from([0x5a, 0x00]),
		Buffer.from([0x1a, 0x31, 0x0a, 0x2f]), Buffer.from('docker-image://docker.io/library/busybox:latest'),
	]).toString('hex'));
});

test('an exec op: mounts by target, outputs in that order, environment by last assignment', (t) => {
	const { vertices } = loadDefinition(marshal(sample(), options));
	const kind = vertices[2]?.kind;
	if (kind?.$case !== 'exec') return t.fail('not an exec op');
	t.deepEqual(kind.exec.meta?.env, ['B=2', 'A=3']);
	t.is(kind.exec.meta?.cwd, '/work');
	t.deepEqual(kind.exec.mounts.map(({ dest, input, output, readonly }) => ({ dest, input, output, readonly })), [
		{ dest: '/', input: 0, output: 0, readonly: false },
		{ dest: '/b', input: -1, output: 1, readonly: false },
		{ dest: '/cache', input: -1, output: -1, readonly: false },
		{ dest: '/z', input: 1, output: -1, readonly: true },
	]);
	t.deepEqual(kind.exec.secretenv, [{ ID: 'token', name: 'TOKEN', optional: false }]);
	t.deepEqual([...vertices[2]?.metadata.caps.keys() ?? []].sort(), [
		'exec.meta.base', 'exec.meta.setsdefaultpath', 'exec.mount.bind', 'exec.mount.cache', 'exec.mount.cache.sharing', 'exec.mount.secret', 'exec.secretenv',
	]);
});

test('a daemon that does not know exec.meta.setsdefaultpath is given PATH', (t) => {
	const state = image('busybox').run({ args: ['true'] }).root;
	const { vertices } = loadDefinition(marshal(state, { ...options, caps: new Set(['exec.meta.base']) }));
	const kind = vertices[1]?.kind;
	t.deepEqual(kind?.$case === 'exec' ? kind.exec.meta?.env : undefined, ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin']);
});

test('a file op: actions refer to inputs, then to each other', (t) => {
	const { vertices } = loadDefinition(marshal(sample(), options));
	const kind = vertices[3]?.kind;
	if (kind?.$case !== 'file') return t.fail('not a file op');
	const [mkdir, copy] = kind.file.actions;
	t.like(mkdir, { input: 0, secondaryInput: -1, output: -1, action: { mkdir: { path: '/work/d', mode: 0o755, timestamp: -1n } } });
	t.like(copy, { input: 2, secondaryInput: 1, output: 0 });
	t.like(copy?.action, { copy: { src: '/a', dest: '/dst/', mode: -1, owner: { user: { user: { byName: { name: 'bin', input: 0 } } }, group: { user: { byID: 7 } } } } });
});

test('merge and diff leave out what is empty', (t) => {
	const a = image('a');
	const b = image('b');
	t.is(merge([scratch(), a]), a);
	t.is(diff(scratch(), b), b);
	t.is(merge([]).output, undefined);
	const graph = loadDefinition(marshal(merge([a, diff(a, b)]), options));
	t.is(graph.result?.vertex.name, 'merge (docker-image://docker.io/library/a:latest, diff (docker-image://docker.io/library/a:latest) -> (docker-image://docker.io/library/b:latest))');
});

test('the same op written twice is one vertex with the metadata of both', (t) => {
	const state = merge([image('a', { name: 'one' }), image('a', { ignoreCache: true })]);
	const graph = loadDefinition(marshal(state, options));
	t.is(graph.vertices.length, 2);
	t.is(graph.vertices[0]?.name, 'one');
	t.true(graph.vertices[0]?.metadata.ignoreCache);
});

test('source locations come back with the vertex', (t) => {
	const sourceMap = { filename: 'Dockerfile', language: 'Dockerfile', data: Buffer.from('FROM a\n'), state: local('dockerfile') };
	const ranges = [{ start: { line: 1, character: 0 }, end: { line: 1, character: 0 } }];
	const graph = loadDefinition(marshal(image('a', { locations: [{ sourceMap, ranges }] }), options));
	t.deepEqual(graph.vertices[0]?.locations, [{ sourceIndex: 0, ranges }]);
	t.is(graph.sources[0]?.filename, 'Dockerfile');
	t.is(loadDefinition(graph.sources[0]?.definition ?? Definition.create()).vertices[0]?.name, 'local://dockerfile');
});

test('a chain of 20,000 steps neither recurses nor takes for ever', (t) => {
	let state = image('a');
	for (let i = 0; i < 20_000; i++) state = state.file(fileActions().mkdir(`/${i}`, 0o755));
	t.is(loadDefinition(marshal(state, options)).vertices.length, 20_001);
});

test('a definition goes into another one unchanged', (t) => {
	const inner = marshal(sample(), options);
	const outer = marshal(stateFromDefinition(inner).file(fileActions().rm('/x')), options);
	t.deepEqual(outer.def.slice(0, -2), inner.def.slice(0, -1));
	t.is(stateFromDefinition(Definition.create()).output, undefined);
});

test('scratch is the empty definition', (t) => {
	const definition = marshal(scratch(), options);
	t.is(definition.def.length, 0);
	t.deepEqual(loadDefinition(definition), { vertices: [], result: undefined, sources: [] });
});

function ops(...list: (Parameters<typeof Op.fromPartial>[0] | Uint8Array)[]): Definition {
	return Definition.fromPartial({ def: list.map((op) => (op instanceof Uint8Array ? op : Op.encode(Op.fromPartial(op)).finish())) });
}

const sourceOp = { op: { $case: 'source', source: { identifier: 'local://x' } } } as const;
const sourceDigest = digestOf(Op.encode(Op.fromPartial(sourceOp)).finish());

const bad: Record<string, [definition: Definition, message: RegExp]> = {
	'bytes that are no op': [ops(Buffer.from([0x0a, 0x7f, 1]), { inputs: [] }), /^failed to parse llb proto op: entry 0 of the definition \(3 bytes\): /],
	'an index beyond 2^53': [ops(Buffer.from('0a0b10ffffffffffffffff7f', 'hex'), { inputs: [] }), /^failed to parse llb proto op: entry 0/],
	'no result': [ops(sourceOp), /the last entry must name the result/],
	'a result that names nothing': [ops(sourceOp, {}), /^invalid LLB with no inputs on last vertex$/],
	'a missing input': [ops(sourceOp, { inputs: [{ digest: 'sha256:00', index: 0 }] }), /^invalid missing input digest sha256:00$/],
	'an output that is not there': [ops(sourceOp, { inputs: [{ digest: sourceDigest, index: 1 }] }), /output 1 of sha256:[0-9a-f]+, which has 1$/],
	'a negative output': [ops(sourceOp, { inputs: [{ digest: sourceDigest, index: -1 }] }), /output -1 of/],
	'an exec op without root': [withResult({ inputs: [{ digest: sourceDigest }], op: { $case: 'exec', exec: { meta: { args: ['x'], cwd: '/' }, mounts: [{ dest: '/x' }] } } }), /^invalid exec op sha256:[0-9a-f]+: no rootfs$/],
	'an exec op without arguments': [withResult({ op: { $case: 'exec', exec: { meta: { cwd: '/' }, mounts: [{ dest: '/' }] } } }), /: no args$/],
	'a mount of an input that is not there': [withResult({ inputs: [{ digest: sourceDigest }], op: { $case: 'exec', exec: { meta: { args: ['x'], cwd: '/' }, mounts: [{ dest: '/', input: 1 }] } } }), /: input 1 of 1$/],
	'outputs with a hole': [withResult({ inputs: [{ digest: sourceDigest }], op: { $case: 'exec', exec: { meta: { args: ['x'], cwd: '/' }, mounts: [{ dest: '/', output: 4 }] } } }), /outputs of its mounts are 4$/],
	'a file op without actions': [withResult({ op: { $case: 'file', file: {} } }), /: no actions$/],
	'an action that uses a later one': [withResult({ op: { $case: 'file', file: { actions: [{ input: 0, action: { $case: 'rm', rm: { path: '/x' } } }] } } }), /: input 0 of an action that has 0$/],
	'an action nobody knows': [withResult({ op: { $case: 'file', file: { actions: [{ input: -1 }] } } }), /an action of an unknown kind$/],
	'a diff without sides': [withResult({ op: { $case: 'diff', diff: {} } }), /nil lower or upper input$/],
	'an op of no kind': [withResult({ inputs: [{ digest: sourceDigest }] }), /has no operation$/],
};

/** The op after a source, and the result. */
function withResult(op: Parameters<typeof Op.fromPartial>[0]): Definition {
	return ops(sourceOp, op, { inputs: [{ digest: digestOf(Op.encode(Op.fromPartial(op)).finish()), index: 0 }] });
}

for (const [name, [definition, message]] of Object.entries(bad)) {
	test(`refused: ${name}`, (t) => {
		const error = t.throws(() => loadDefinition(definition), { instanceOf: DefinitionError });
		t.regex(error.message, message);
	});
}
