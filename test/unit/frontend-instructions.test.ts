import test from 'ava';
import { LocationError } from '../../frontend/errors.js';
import { parseDevice, parseMount } from '../../frontend/instructions/mount.js';
import { parseInstructions } from '../../frontend/instructions/parse.js';
import type { Command } from '../../frontend/instructions/types.js';
import { Linter } from '../../frontend/lint/linter.js';
import { parse } from '../../frontend/parser/parse.js';

function commands(text: string): readonly Command[] {
	const { stages } = parseInstructions(parse(`FROM a\n${text}`).nodes, Linter.create({}, undefined));
	return stages[0]?.commands ?? [];
}

/** One refused instruction and what is said of it. */
const refused: readonly (readonly [text: string, message: string])[] = [
	['FOOBAR x', 'unknown instruction: FOOBAR'],
	['RNU x', 'unknown instruction: RNU (did you mean RUN?)'],
	['cpoy a b', 'unknown instruction: cpoy (did you mean copy?)'],
	['ADD a', 'ADD requires at least two arguments, but only one was provided. Destination could not be determined'],
	['COPY --foo a b', 'unknown flag: --foo (did you mean from?)'],
	['COPY --from a b', 'missing a value on flag: --from'],
	['COPY --from=x --from=y a b', 'duplicate flag specified: --from'],
	['COPY --link=maybe a b', 'expecting boolean value for flag --link, not: maybe'],
	['COPY --link= a b', 'missing a value on flag: --link'],
	['COPY --__proto__=x a b', 'unknown flag: --__proto__'],
	['ADD --parents a b', 'unknown flag: --parents'],
	['COPY a <<E\nE', 'COPY cannot accept a heredoc as a destination'],
	['RUN --network=foo x', 'invalid network mode "foo"'],
	['RUN --security=foo x', 'security "foo" is not valid'],
	['RUN --mount=type=bind,from=$x,target=/y z', '\'from\' doesn\'t support variable expansion, define alias stage instead'],
	['RUN --mount=\'a"b\' x', 'failed to parse csv mounts: parse error on line 1, column 2: bare " in non-quoted field'],
	['RUN --device=a,b x', 'invalid field \'b\' must be a key=value pair'],
	['ENV', 'ENV requires at least one argument'],
	['ENV =a', 'ENV names can not be blank'],
	['LABEL --x=y a=b', 'unknown flag: --x'],
	['ARG =a', 'ARG names can not be blank'],
	['ARG', 'ARG requires at least one argument'],
	['MAINTAINER', 'MAINTAINER requires exactly one argument'],
	['SHELL bash -c', 'SHELL requires the arguments to be in JSON form'],
	['SHELL []', 'SHELL requires at least one argument'],
	['HEALTHCHECK CMD', 'Missing command after HEALTHCHECK CMD'],
	['HEALTHCHECK --retries=x CMD a', 'strconv.ParseInt: parsing "x": invalid syntax'],
	['HEALTHCHECK --retries=-1 CMD a', '--retries cannot be negative (-1)'],
	['HEALTHCHECK --timeout=5 CMD a', 'time: missing unit in duration "5"'],
	['HEALTHCHECK --timeout=1us CMD a', 'Interval "timeout" cannot be less than 1ms'],
	['HEALTHCHECK NONE x', 'HEALTHCHECK NONE takes no arguments'],
	['HEALTHCHECK', 'HEALTHCHECK requires at least one argument'],
	['VOLUME [""]', 'VOLUME specified can not be an empty string'],
	['ONBUILD', 'ONBUILD requires at least one argument'],
	['ONBUILD onbuild RUN x', 'Chaining ONBUILD via `ONBUILD ONBUILD` isn\'t allowed'],
	['ONBUILD MAINTAINER x', 'MAINTAINER isn\'t allowed as an ONBUILD trigger'],
	['STOPSIGNAL', 'STOPSIGNAL requires exactly one argument'],
	['WORKDIR', 'WORKDIR requires exactly one argument'],
	['FROM', 'FROM requires either one or three arguments'],
	['FROM a b', 'FROM requires either one or three arguments'],
	['FROM a b c', 'FROM requires either one or three arguments'],
	['FROM a AS 1x', 'invalid name for build stage: "1x", name can\'t start with a number or contain symbols'],
	['FROM --foo=x a', 'unknown flag: --foo'],
];

for (const [text, message] of refused) {
	test(`refuses ${text.replace(/\n/g, '\u23ce')}`, (t) => {
		const error = t.throws(() => commands(text), { instanceOf: LocationError });
		t.is(error.message, `dockerfile parse error on line 2: ${message}`);
		t.is(error.locations[0]?.start, 2);
	});
}

test('an instruction before the first FROM', (t) => {
	const read = (text: string): unknown => parseInstructions(parse(text).nodes, Linter.create({}, undefined));
	t.throws(() => read('ARG a\nRUN x\nFROM b'), { message: 'no build stage in current context' });
	t.like(read('ARG a\nARG b=c\nFROM b'), { metaArgs: [{ args: [{ key: 'a' }] }, { args: [{ key: 'b', value: 'c' }] }] });
});

test('what flags and arguments become', (t) => {
	const [copy, add, run, health] = commands([
		'COPY --from=x --link --exclude=a --exclude=b ["s 1", "d"]',
		'ADD --keep-git-dir=false --unpack --checksum=sha256:0 a b',
		'RUN --mount=type=tmpfs,target=/x --mount=type=cache,target=/y --network=none --security=insecure a  b',
		'HEALTHCHECK --interval=5m --retries=3 CMD ["a", "b"]',
	].join('\n'));
	t.like(copy, { kind: 'copy', from: 'x', link: true, parents: false, exclude: ['a', 'b'], sources: ['s 1'], dest: 'd' });
	t.like(add, { kind: 'add', keepGitDir: false, unpack: true, checksum: 'sha256:0' });
	t.like(run, { kind: 'run', network: 'none', security: 'insecure', shell: true, args: ['a  b'], mounts: ['type=tmpfs,target=/x', 'type=cache,target=/y'] });
	t.like(health, { kind: 'healthcheck', health: { test: ['CMD', 'a', 'b'], interval: 300e9, retries: 3, timeout: 0 } });
	t.like(commands('ADD a b')[0], { keepGitDir: undefined, unpack: undefined });
	t.like(commands('STOPSIGNAL --anything 9')[0], { kind: 'stopsignal', signal: '9' }, 'flags of STOPSIGNAL and ARG are never looked at');
});

test('a here-document keeps its tabs until it is used', (t) => {
	const [copy, onbuild] = commands('COPY <<-A <<"B" /x\n\ta\n\tA\nb $x\nB\nONBUILD RUN <<C\nc\nC\n');
	t.like(copy, { inline: [{ name: 'A', content: 'a\n', expand: true }, { name: 'B', content: 'b $x\n', expand: false }], dest: '/x', sources: [] });
	t.like(onbuild, { expression: 'RUN <<C\nc\nC' });
});

test('doc comments', (t) => {
	const { stages, metaArgs } = parseInstructions(parse('# a the a\n# b the b\nARG a b=1 c\n# st all of it\nFROM x AS st').nodes, Linter.create({}, undefined));
	t.deepEqual(metaArgs[0]?.args.map((arg) => arg.docComment), ['the a', 'the b', '']);
	t.is(stages[0]?.docComment, 'all of it');
});

const mounts: readonly (readonly [spec: string, message: string])[] = [
	['type=foo', 'unsupported mount type "foo"'],
	['type=cahce', 'unsupported mount type "cahce" (did you mean cache?)'],
	['target=/x,foobar=x', 'unexpected key \'foobar\' in \'foobar=x\''],
	['target=/x,tpye=bind', 'unexpected key \'tpye\' in \'tpye=bind\' (did you mean type?)'],
	['target=/x,foo', 'invalid field \'foo\' must be a key=value pair'],
	['target=/x,required', 'unexpected key \'required\' for mount type \'bind\''],
	['target=/x,size=1', 'unexpected key \'size\' for mount type \'bind\''],
	['type=tmpfs,target=/x,size=foo', 'invalid value for size: foo'],
	['target=/x,uid=1', 'uid not allowed for "bind" type mounts'],
	['type=tmpfs,target=/x,mode=1', 'mode not allowed for "tmpfs" type mounts'],
	['type=cache,target=/x,mode=9', 'invalid value 9 for mode'],
	['type=cache,target=/x,uid=-1', 'invalid value -1 for uid'],
	['target=/x,ro=maybe', 'invalid value for ro: maybe'],
	['type=cache,target=/x,sharing=foo', 'unsupported sharing value "foo"'],
	['target=/x,sharing=shared', 'invalid cache sharing set for bind mount'],
	['type=secret', 'invalid secret mount. one of source, target required'],
	['type=secret,id=a,source=b', 'both source and id can\'t be set'],
	['type=secret,id=a,from=b', 'secret mount should not have a from'],
	['type=secret,id=a,sharing=locked', 'secret mount should not define sharing'],
];

for (const [spec, message] of mounts) {
	test(`refuses --mount=${spec}`, (t) => {
		t.throws(() => parseMount(spec, (word) => word), { message });
	});
}

test('mounts are writable or not by their type, unless they say so', (t) => {
	const readonly = (spec: string): boolean => parseMount(spec, (word) => word).readonly;
	t.deepEqual(['type=bind', 'type=cache', 'type=tmpfs', 'type=bind,rw', 'type=cache,ro', 'rw=false', 'readwrite=true', 'readonly'].map(readonly),
		[true, false, false, false, true, true, false, true]);
});

test('values of mounts are expanded', (t) => {
	t.like(parseMount('type=$t,target=/$t,id=x', (word) => word.replace('$t', 'cache')), { type: 'cache', target: '/cache', id: 'x' });
});

test('devices', (t) => {
	t.deepEqual(parseDevice('vendor.com/gpu=1,required'), { name: 'vendor.com/gpu=1', required: true });
	t.deepEqual(parseDevice('name=x,required=false'), { name: 'x', required: false });
	t.throws(() => parseDevice('x,name=y'), { message: 'device name already set to x' });
});
