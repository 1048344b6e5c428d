// Makes Dockerfiles, asks BuildKit's frontend (the dfdump binary given) what it makes of them, and writes
// ../recorded.jsonl.gz. The same seed gives the same Dockerfiles.
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const here = dirname(fileURLToPath(import.meta.url));
const conformance = join(here, '../../conformance');
const busybox = JSON.parse(readFileSync(join(conformance, 'bases/busybox.json'), 'utf8'));
const wanted = { built: 420, failed: 130 };

/** mulberry32 */
let state = 20260801;
function random(n) {
	state = (state + 0x6d2b79f5) >>> 0;
	let t = Math.imul(state ^ (state >>> 15), state | 1);
	t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
	return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * n);
}
const pick = (list) => list[random(list.length)];
const chance = (percent) => random(100) < percent;
const flag = (percent, make) => (chance(percent) ? `${make()} ` : '');
const times = (n, make) => Array.from({ length: n }, make);

const names = ['a', 'B', 'C_D', 'PATH', 'FOO', 'HOME', 'x1', 'TARGETARCH', 'BUILDPLATFORM', 'HTTP_PROXY', 'API_KEY'];
const word = () => pick(['foo', 'bar', 'a.txt', './x/y', '/abs/p', 'dir/', '.', '..', '*.go', 'x?z', 'sp\\ ace', '"q w"', '\'s q\'', '\u00fc', 'a=b', 'a,b', '<', '>', '&', 'c:d', '1',
	'0755', '-x', '\\$lit', '\\\\', 'f#g', '\u{1f600}']);
const pattern = () => pick(['*', 'a*', '*\\/', '?', '\\/usr', '.', '*.*', '\\*', 'b', '\\/', 'l?b']);
function expansion(depth) {
	const name = pick(names);
	const operand = () => (depth < 2 ? value(depth + 1) : 'x');
	return pick([
		() => `$${name}`, () => `\${${name}}`, () => `"$${name}"`,
		() => `\${${name}:-${operand()}}`, () => `\${${name}:+${operand()}}`, () => `\${${name}-${word()}}`, () => `\${${name}+${word()}}`,
		() => `\${${name}${pick(['#', '##', '%', '%%'])}${pattern()}}`,
		() => `\${${name}${pick(['/', '//'])}${pattern()}/${pick(['', 'r', '-', '$B', '\\/', '\\$0', '$'])}}`,
	])();
}
function value(depth = 0) {
	return times(1 + random(3), () => (chance(66) ? word() : expansion(depth))).join('');
}
const source = () => (chance(75) ? word() : expansion(0));
const assignment = () => `${pick(names)}=${chance(66) ? value() : pick(['""', '"a b"', '\'x\'', ''])}`;
const chown = () => `--chown=${pick(['1', '1:2', 'bin', 'bin:bin', ':5', '$a', 'root:0', '-1', '4294967295'])}`;
const chmod = () => `--chmod=${pick(['644', '0755', '7777', 'u+x', 'a=rX,u+w', 'go-', '+t', '=', '8'])}`;

function mount(stages) {
	return `--mount=${pick([
		'type=cache,target=/c', 'type=cache,target=c,id=$a,sharing=locked,uid=3,mode=0700', 'type=bind,target=/b', 'type=bind,source=/x/$FOO,target=/b', 'type=cache,ro,target=/z,from=img',
		`from=${pick([...stages, 'img', 'base'])},target=/f,source=x`, 'type=tmpfs,target=/t,size=1g', 'type=secret,id=s', 'type=secret,id=s,target=/s,uid=1', 'type=secret,id=s,env=E,required',
		'type=ssh', 'type=ssh,id=x,required=true', 'target=/m,rw', 'type=$FOO,target=/u', '"type=cache,target=/q"', 'type=tmp,target=/x',
	])}`;
}

/** Instructions by name; the more often a name is in the list the more often it comes. */
const instructions = {
	RUN: (stages) => flag(25, () => mount(stages)) + flag(10, () => `--network=${pick(['none', 'host', 'default', 'x'])}`) + flag(6, () => `--security=${pick(['insecure', 'sandbox'])}`) + pick([
		() => `echo ${value()} && ${value()}`, () => '["a", "b $a"]', () => `<<EOF\n${value()}\n#!x\nEOF`, () => `<<-"EOF"\n\t${value()}\n\tEOF`, () => 'cat <<A <<B\n1\nA\n2\nB',
		() => `<<EOF\n#!/bin/x\n${value()}\nEOF`, () => value(), () => '',
	])(),
	COPY: (stages) => flag(25, () => `--from=${pick([...stages, 'img:1', '0', 'missing'])}`) + flag(15, chown) + flag(15, chmod) + flag(15, () => '--link') + flag(10, () => '--parents')
		+ flag(8, () => `--exclude=${pick(['*.x', '**/y'])}`) + pick([
		() => `${source()} ${source()}`, () => `${source()} ${source()} ${source()}`, () => `["a b", "${pick(['d', '/d/', '.'])}"]`, () => `<<EOF ${source()}\n${value()}\nEOF`,
		() => `<<"E F" <<X /d/\n${value()}\nE F\n$a\nX`, () => '. .', () => './x/./y/z* /p/', () => 'a',
	])(),
	ADD: () => flag(15, chown) + flag(10, () => `--unpack=${pick(['true', 'false'])}`) + flag(10, () => '--keep-git-dir') + flag(8, () => `--checksum=${pick([`sha256:${'a'.repeat(64)}`, 'sha256:x'])}`)
		+ flag(10, () => '--link') + pick(['x.tar /', 'https://example.com/a/b.txt?x=1 /d/', 'https://example.com/ .', 'https://u:p@example.com:80/x%20y /', 'https://example.com/a/b.git /g',
		'https://example.com/a/b.git#v1:sub /g', 'https://example.com/a/b.git?tag=v1&subdir=x /g', 'git://x/y#:d /g', 'github.com/a/b /z', 'https://x/a https://y/b $a/']),
	ENV: () => pick([() => assignment(), () => `${assignment()} ${assignment()}`, () => `${pick(names)} ${value()}`])(),
	ARG: () => pick([() => pick(names), () => assignment(), () => `${pick(names)} ${assignment()}`])(),
	LABEL: () => pick([() => assignment(), () => `"a b"=${value()} ${assignment()}`, () => `${pick(names)} ${value()}`])(),
	WORKDIR: () => pick(['/w', 'rel', '..', '.', '/', '/a/../b//c/', '$a', 'x y', '"q"', value()]),
	USER: () => pick(['1', 'u:g', '$a', 'root', value()]),
	CMD: () => pick([`echo ${value()}`, '["a", "$b"]', '[]', '["\\u003c<>&", "\u00e9"]', 'x', '["a", 1]']),
	ENTRYPOINT: () => pick(['["e"]', `e ${value()}`, '[]']),
	EXPOSE: () => pick(['80', '80/tcp 53/UDP', '1000-1003', '$a', '${x1:-90}/sctp', '127.0.0.1:80:81', '80:90', '80/foo', '99999']),
	VOLUME: () => pick(['/v', '["/a b", "/c"]', '/a $B', '1 /x', value()]),
	HEALTHCHECK: () => pick(['NONE', `CMD curl ${value()}`, '--interval=1m30s --timeout=1.5s --retries=3 --start-period=100ms --start-interval=2h CMD ["a"]', '--interval=0s CMD x', '--interval=5 CMD x']),
	STOPSIGNAL: () => pick(['SIGTERM', '9', 'kill', 'RTMIN+3', 'SIGRTMAX-1', '$a', 'FOO']),
	SHELL: () => pick(['["/bin/bash", "-c"]', '["a"]']),
	ONBUILD: (stages) => pick([() => instruction(stages), () => 'RUN x', () => `COPY --from=${pick(['img', ...stages])} a b`])(),
	MAINTAINER: () => value(),
	'#': () => pick(['check=skip=all', 'comment', '', 'a the a', 'base x']),
};
const weighted = ['RUN', 'RUN', 'COPY', 'COPY', 'COPY', 'ENV', 'ENV', 'ARG', 'ARG', ...Object.keys(instructions)];

function instruction(stages) {
	const name = pick(weighted);
	return `${chance(4) ? name.toLowerCase() : name} ${instructions[name](stages)}`;
}

/** Breaks some lines in two. */
function continued(text) {
	return chance(88) ? text : text.replace(/ /g, () => (chance(75) ? ' ' : pick([' \\\n', ' \\\n  ', ' \\\n# comment\n', '\t', '  ', ' \\  \n\n'])));
}

function dockerfile() {
	const lines = [];
	if (chance(15)) lines.push(pick(['# escape=`', '# check=experimental=all', '# check=skip=JSONArgsRecommended', '#escape=\\']));
	lines.push(...times(random(3), () => `ARG ${assignment()}`));
	const stages = [];
	for (let i = 1 + random(4); i > 0; i--) {
		const name = pick(['base', 's1', 'build', 'Final', 'x-amd64', 'dev_2', '']);
		const platform = flag(12, () => `--platform=${pick(['$BUILDPLATFORM', '$TARGETPLATFORM', 'linux/arm64', 'linux/${TARGETARCH}', 'foo'])}`);
		const from = pick(['base', 'base', 'scratch', ...stages, 'busybox:1.2', `img@sha256:${'b'.repeat(64)}`, '127.0.0.1:5000/x', 'base${x1}', 'Upper', 'missing']);
		lines.push(`FROM ${platform}${from}${name === '' ? '' : pick([' AS ', ' as ', ' AS ']) + name}`);
		if (name !== '') stages.push(name.toLowerCase());
		lines.push(...times(random(7), () => continued(instruction(stages))));
	}
	return { text: lines.join(chance(92) ? '\n' : '\r\n') + pick(['', '\n', '\n\n']), stages };
}

function options(stages) {
	const opts = {};
	const maybe = (percent, key, make) => {
		if (chance(percent)) opts[key] = make();
	};
	maybe(20, 'platform', () => pick(['linux/arm64', 'linux/amd64', 'linux/arm/v6']));
	if (stages.length > 0) maybe(15, 'target', () => pick(stages));
	for (let i = random(3); i > 0; i--) opts[`build-arg:${pick(names)}`] = pick(['x', '', 'a b', '$x', '/v/w', 'y"z']);
	maybe(12, 'no-cache', () => pick(['', ...stages, 'a,b']));
	maybe(10, `context:${pick(['base', 'img', 'busybox', ...stages])}`, () => pick(['docker-image://other:1', 'local:ctx', 'docker-image://scratch', 'https://example.com/x.tar', 'https://example.com/r.git#main', 'bad']));
	maybe(10, 'multi-platform', () => '1');
	maybe(10, 'label:x', () => 'y&z');
	maybe(7, 'build-arg:SOURCE_DATE_EPOCH', () => '1234567890');
	maybe(5, 'build-arg:BUILDKIT_CACHE_MOUNT_NS', () => 'ns');
	maybe(5, 'add-hosts', () => 'a=1.2.3.4');
	maybe(5, 'force-network-mode', () => pick(['host', 'none']));
	maybe(5, 'hostname', () => 'h');
	maybe(5, 'shm-size', () => '64');
	maybe(5, 'ulimit', () => 'nofile=5:7');
	maybe(5, 'image-resolve-mode', () => pick(['pull', 'local']));
	return opts;
}

const richBase = {
	...busybox,
	created: '2024-01-01T00:00:00.100Z',
	config: {
		...busybox.config, WorkingDir: 'rel', User: 'me', Env: ['A=1', 'FOO=2', 'X', 'a=/usr/lib'], Shell: ['/s', '-c'], ArgsEscaped: true, ExposedPorts: { '80/tcp': {} },
		Labels: { z: '1', b: '<' }, Healthcheck: { Test: ['NONE'], Interval: 5 }, Volumes: { '/v': {} }, StopSignal: 'X', Entrypoint: ['e'], OnBuild: ['ENV OB=1', 'RUN ob'],
	},
};
const bases = [busybox, busybox, { ...busybox, architecture: 'arm64', variant: 'v8' }, richBase, { architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [] }, config: {} }];

function randomInput() {
	const { text, stages } = dockerfile();
	const ignore = chance(25) ? { '.dockerignore': pick(['*', 'a\n!b', 'foo*\n**/x', '# c\n/etc', 'dir\n*.txt', '!x', 'x/**/y', '[a-c]*', '<x>', '!']) } : {};
	return {
		opts: options(stages),
		locals: { dockerfile: { Dockerfile: text, ...(chance(10) ? { 'Dockerfile.dockerignore': 'q' } : {}) }, context: ignore, ctx: { '.dockerignore': 'z' } },
		images: { '*': busybox, 'docker.io/library/base:latest': pick(bases) },
	};
}

/** A carried conformance case, as far as the frontend reads it. */
function conformanceInput(dir) {
	const args = JSON.parse(readFileSync(join(dir, 'args.json'), 'utf8'));
	const filename = args.dockerfile ?? 'Dockerfile';
	const files = {};
	for (const [name, path] of [[filename, join(dir, 'context', filename)], [filename, join(dir, 'Dockerfile')], ['.dockerignore', join(dir, 'context/.dockerignore')]]) {
		if (files[name] === undefined && existsSync(path) && statSync(path).isFile()) files[name] = readFileSync(path, 'utf8');
	}
	const prefixed = (prefix, values = {}) => Object.fromEntries(Object.entries(values).map(([key, one]) => [prefix + key, one]));
	const opts = { filename, ...prefixed('build-arg:', args.build_args), ...prefixed('label:', args.labels), ...args.opts };
	if (args.target) opts.target = args.target;
	if (args.platform) opts.platform = args.platform;
	return { opts, locals: { dockerfile: files, context: files }, images: { '*': busybox } };
}

const [program] = process.argv.slice(2);
if (!program) throw new Error('usage: generate.mjs DFDUMP');
const child = spawn(program, { stdio: ['pipe', 'pipe', 'inherit'] });
const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
async function ask(input) {
	child.stdin.write(`${JSON.stringify(input)}\n`);
	return (await answers.next()).value;
}
/** Members and lists whose order means nothing, sorted. */
function canonical(answer) {
	const { results = [], warnings = [], ...rest } = JSON.parse(answer);
	return { ...rest, result: [...(results.at(-1) ?? [])].sort((a, b) => (a.digest < b.digest ? -1 : 1)), warnings: [...warnings].sort() };
}
/** The answer, if it is always the same. */
async function settled(input) {
	const first = JSON.stringify(canonical(await ask(input)));
	for (let i = 0; i < 5; i++) if (JSON.stringify(canonical(await ask(input))) !== first) return undefined;
	return JSON.parse(first);
}

const recorded = [];
async function record(name, input) {
	const expected = await settled(input);
	if (expected) recorded.push({ name, input, expected });
	return expected;
}
for (const name of readdirSync(join(conformance, 'cases')).sort()) await record(name, conformanceInput(join(conformance, 'cases', name)));
const left = { ...wanted };
for (let i = 0; left.built > 0 || left.failed > 0; i++) {
	const input = randomInput();
	const kind = (await ask(input)).startsWith('{"error"') ? 'failed' : 'built';
	if (left[kind] === 0) continue;
	if (await record(`random ${i}`, input)) left[kind]--;
}
child.stdin.end();
writeFileSync(join(here, '../recorded.jsonl.gz'), gzipSync(recorded.map((one) => JSON.stringify(one)).join('\n'), { level: 9 }));
console.log(`${recorded.length} recorded`);
