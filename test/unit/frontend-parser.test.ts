import test from 'ava';
import { LocationError } from '../../frontend/errors.js';
import { detectSyntax, findDirective } from '../../frontend/parser/directives.js';
import { parse } from '../../frontend/parser/parse.js';
import type { Node } from '../../frontend/parser/parse.js';

function nodes(text: string): readonly Node[] {
	return parse(text).nodes;
}

function args(text: string): readonly string[] {
	return nodes(text)[0]?.args ?? [];
}

test('lines are continued, comments and blank lines within left out', (t) => {
	const [run, env] = nodes('# c\nRUN a \\\n  # inner\n\n  b \\  \n\tc\n\nENV x y\n');
	t.is(run?.original, 'RUN a   b \tc');
	t.deepEqual(run?.location, { start: 2, end: 6 });
	t.deepEqual(env?.args, ['x', 'y', '']);
	t.deepEqual(env?.location, { start: 8, end: 8 });
	t.deepEqual(parse('RUN a \\\n\n b\n').emptyContinuations, [3]);
});

test('an escaped escape does not continue a line, one at the end of the file is dropped', (t) => {
	t.is(nodes('RUN a \\\\\nRUN b')[0]?.original, 'RUN a \\\\');
	t.is(nodes('RUN a \\')[0]?.original, 'RUN a ');
	t.is(nodes('\\\nRUN a')[0]?.original, 'RUN a');
});

test('BOM, CRLF and case', (t) => {
	const [from, run] = nodes('\ufeffFROM scratch\r\nrun a \\\r\n  b\r\n');
	t.is(from?.name, 'FROM');
	t.deepEqual(run?.args, ['a   b']);
	t.is(run?.name, 'run');
});

test('comments above an instruction belong to it', (t) => {
	const [arg, from] = nodes('# escape=`\n# x says\n#\n# y more\nARG y\n\n# other\nFROM a\n');
	t.deepEqual(arg?.comments, ['y more']);
	t.deepEqual(from?.comments, ['other']);
});

test('the escape directive', (t) => {
	t.is(parse('#escape = `\nRUN a `\n b \\\n').nodes[0]?.original, 'RUN a  b \\');
	t.is(parse('# a comment\n# escape=`\nRUN a \\\n b\n').escape, '\\', 'not after a comment');
	t.is(parse('\n# escape=`\nRUN a\n').escape, '\\', 'not after an empty line');
	t.is(parse('# syntax=x\n# ESCAPE=`\nRUN a\n').escape, '`', 'after another directive, in any case');
});

test('flags come before arguments', (t) => {
	const flags = (text: string): readonly string[] => nodes(text)[0]?.flags ?? [];
	t.deepEqual(flags('COPY --from=a --chown="1 2" \t--x=\\"  src --no dst'), ['--from=a', '--chown=1 2', '--x="']);
	t.deepEqual(args('COPY --from=a  src --no dst'), ['src', '--no', 'dst']);
	t.deepEqual(flags('RUN -- --x'), []);
	t.deepEqual(args('RUN --a -- --x'), ['--x']);
	t.deepEqual(args('RUN -x'), ['-x']);
	t.deepEqual(flags('COPY --chown=\u00e9 a b'), ['--chown=\u00c3\u00a9'], 'bytes, as BuildKit reads them');
});

test('JSON forms, and what only looks like one', (t) => {
	t.deepEqual(nodes('CMD ["a", "b\\u0041"]')[0], {
		name: 'CMD', flags: [], args: ['a', 'bA'], json: true, heredocs: [], original: 'CMD ["a", "b\\u0041"]', location: { start: 1, end: 1 }, comments: [],
	});
	t.deepEqual(args('CMD [\'a\']'), ['[\'a\']']);
	t.deepEqual(args('CMD ["a"] b'), ['["a"] b']);
	t.deepEqual(args('COPY ["a b", "c"]'), ['a b', 'c']);
	t.deepEqual(args('COPY ["a b", "c"'), ['["a', 'b",', '"c"']);
	t.deepEqual(args('RUN []'), []);
});

test('key-value forms', (t) => {
	t.deepEqual(args('ENV a=1 b="x y" c=\\ d'), ['a', '1', '=', 'b', '"x y"', '=', 'c', '\\ d', '=']);
	t.deepEqual(args('ENV a  b  c'), ['a', 'b  c', '']);
	t.deepEqual(args('LABEL "a b"=c'), ['"a b"', 'c', '=']);
	t.deepEqual(args('ARG a b=c "d e"=f'), ['a', 'b=c', '"d e"=f']);
});

test('ONBUILD holds another instruction', (t) => {
	t.deepEqual(args('ONBUILD COPY --from=x a b'), ['COPY', 'a', 'b']);
	t.deepEqual(args('ONBUILD'), []);
	t.deepEqual(nodes('ONBUILD RUN <<E\nx\nE\n')[0]?.heredocs.map(({ content }) => content), ['x\n']);
});

test('here-documents', (t) => {
	const [run, copy, rest] = nodes('RUN <<A cat <<-\'B\' && x\n1\n\tA\nA\n\t2\n\tB\nCOPY <<"E F" <<E /x\ny\nE F\nz\nE\nCMD x\n');
	t.deepEqual(run?.heredocs, [
		{ name: 'A', expand: true, chomp: false, content: '1\n\tA\n' },
		{ name: 'B', expand: false, chomp: true, content: '\t2\n' },
	]);
	t.deepEqual(run?.location, { start: 1, end: 6 });
	t.deepEqual(copy?.heredocs.map(({ name, expand, content }) => [name, expand, content]), [['E F', false, 'y\n'], ['E', true, 'z\n']]);
	t.is(rest?.location.start, 12);
	t.deepEqual(nodes('RUN echo 3<<E\nE\n')[0]?.heredocs.map(({ name }) => name), ['E']);
	t.deepEqual(nodes('RUN cat <<< x "<<y" \\<<z\n')[0]?.heredocs, []);
	t.deepEqual(nodes('ENV a <<E\n')[0]?.heredocs, []);
	t.deepEqual(nodes('RUN ["a", "<<E"]\n')[0]?.heredocs, []);
});

const errors: Record<string, [text: string, message: string, start: number, end: number]> = {
	'nothing': ['', 'file with no instructions', 0, 0],
	'only comments': ['# a\n# b\n', 'file with no instructions', 2, 2],
	'an unterminated here-document': ['FROM a\nRUN <<E\nx\n', 'unterminated heredoc', 2, 3],
	'a JSON array of other things': ['FROM a\nCMD ["a", 1]', 'when using JSON array syntax, arrays must be comprised of strings only', 2, 2],
	'ENV without value': ['ENV\\\n a', 'ENV must have two arguments', 1, 2],
	'ENV with a lone word': ['ENV a=b c', 'Syntax error - can\'t find = in "c". Must be of the form: name=value', 1, 1],
	'a directive given twice': ['# escape=`\n# escape=\\\nFROM a', 'only one escape parser directive can be used', 1, 1],
	'an escape that cannot be one': ['# escape=x\nFROM a', 'invalid escape token \'x\' does not match ` or \\', 0, 0],
	'a line of 65536 bytes': [`FROM a\nRUN ${'x'.repeat(65532)}\n`, 'dockerfile line greater than max allowed size of 65535', 1, 1],
};

for (const [name, [text, message, start, end]] of Object.entries(errors)) {
	test(`refuses ${name}`, (t) => {
		const error = t.throws(() => parse(text), { instanceOf: LocationError });
		t.is(error.message, message);
		t.deepEqual(error.locations, [{ start, end }]);
	});
}

test('a line of 65535 bytes is the longest', (t) => {
	t.is(nodes(`RUN ${'x'.repeat(65531)}\n`).length, 1);
	t.is(nodes(`RUN ${'x'.repeat(65531)}`).length, 1);
	t.throws(() => parse(`RUN ${'x'.repeat(65528)}\u00e9\u00e9\n`), { message: 'file with no instructions' });
});

test('directives', (t) => {
	t.deepEqual(findDirective('check', '#check=skip=all  \nFROM a'), { value: 'skip=all', cmdline: 'skip=all', location: { start: 1, end: 1 } });
	t.deepEqual(detectSyntax('\ufeff#!/usr/bin/x\n# syntax = a/b:1 --foo\nFROM a'), { value: 'a/b:1', cmdline: 'a/b:1 --foo', location: { start: 2, end: 2 } });
	t.is(detectSyntax('// syntax=x\n')?.value, 'x');
	t.is(detectSyntax('{"syntax": "y"}')?.value, 'y');
	t.is(detectSyntax('{"syntax": 1}'), undefined);
	t.is(detectSyntax('FROM a\n# syntax=x'), undefined);
	t.is(detectSyntax('# other=x\n# syntax=x'), undefined);
});
