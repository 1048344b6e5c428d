import test from 'ava';
import { csvFields } from '../../frontend/text/csv.js';
import { formatDuration, parseDuration } from '../../frontend/text/duration.js';
import { parseBool, parseInteger, quote } from '../../frontend/text/format.js';
import { parseBytes } from '../../frontend/text/size.js';
import { suggest, withSuggestion } from '../../frontend/text/suggest.js';
import { trimSpace } from '../../frontend/text/unicode.js';
import { IgnoreMatcher, readIgnoreFile } from '../../frontend/ui/ignore.js';
import { parseGitRef } from '../../frontend/ui/git-ref.js';

test('durations, there and back', (t) => {
	const cases: Record<string, [nanoseconds: number, text: string]> = {
		'0': [0, '0s'], '1ns': [1, '1ns'], '1500ns': [1500, '1.5\u00b5s'], '1.5us': [1500, '1.5\u00b5s'], '2ms': [2e6, '2ms'], '5m': [300e9, '5m0s'],
		'1h2m3.5s': [3723.5e9, '1h2m3.5s'], '-90s': [-90e9, '-1m30s'], '1.000000001s': [1000000001, '1.000000001s'], '.5s': [5e8, '500ms'],
		'3000h': [1.08e16, '3000h0m0s'],
	};
	for (const [source, [nanoseconds, text]] of Object.entries(cases)) {
		t.is(parseDuration(source), nanoseconds, source);
		t.is(formatDuration(nanoseconds), text);
	}
	t.throws(() => parseDuration(''), { message: 'time: invalid duration ""' });
	t.throws(() => parseDuration('5'), { message: 'time: missing unit in duration "5"' });
	t.throws(() => parseDuration('5x'), { message: 'time: unknown unit "x" in duration "5x"' });
	t.throws(() => parseDuration('s'), { message: 'time: invalid duration "s"' });
});

test('quoting as %q', (t) => {
	t.is(quote('a"b\\c\n\t\u0000\u007f\u200b\u00e9\ud83d\ude00\u{e0001}'), '"a\\"b\\\\c\\n\\t\\x00\\x7f\\u200b\u00e9\ud83d\ude00\\U000e0001"');
});

test('booleans and integers as strconv reads them', (t) => {
	t.deepEqual(['1', 't', 'TRUE', 'False', 'yes', ''].map(parseBool), [true, true, true, false, undefined, undefined]);
	t.is(parseInteger('0755', { base: 8 }), 0o755n);
	t.throws(() => parseInteger('8', { base: 8 }), { message: 'strconv.ParseInt: parsing "8": invalid syntax' });
	t.throws(() => parseInteger('-1', { unsigned: true }), { message: 'strconv.ParseUint: parsing "-1": invalid syntax' });
	t.throws(() => parseInteger('4294967296', { unsigned: true, bits: 32 }), { message: 'strconv.ParseUint: parsing "4294967296": value out of range' });
});

test('sizes', (t) => {
	t.deepEqual(['64', '64m', '1.5GiB', '2 kb', '7B'].map(parseBytes), [64, 64 * 2 ** 20, 1.5 * 2 ** 30, 2048, 7]);
	for (const bad of ['', 'm', '1x', '1mbb', '-1', '1.2.3']) t.throws(() => parseBytes(bad), undefined, bad);
});

test('comma separated fields', (t) => {
	t.deepEqual(csvFields('a,"b,c","d""e",,f'), ['a', 'b,c', 'd"e', '', 'f']);
	t.throws(() => csvFields('a,b"c'), { message: 'parse error on line 1, column 4: bare " in non-quoted field' });
	t.throws(() => csvFields('"a'), { message: 'parse error on line 1, column 3: extraneous or missing " in quoted-field' });
	t.throws(() => csvFields(''), { message: 'EOF' });
});

test('did you mean', (t) => {
	t.is(suggest('chwon', ['chown', 'chmod'], true), 'chown');
	t.is(suggest('xyz', ['chown'], true), undefined);
	t.is(suggest('chown', ['chwon', 'chown'], true), undefined, 'a known word needs no suggestion');
	t.is(withSuggestion('unknown instruction: RNU', 'RNU', ['RUN', 'ENV'], false), 'unknown instruction: RNU (did you mean RUN?)');
	t.is(suggest('rnu', ['RUN'], false), 'run');
});

test('space is what Go takes for space', (t) => {
	t.is(trimSpace('\u0085\u00a0 a \u3000'), 'a');
	t.is(trimSpace('\ufeffa'), '\ufeffa');
});

test('.dockerignore', (t) => {
	const patterns = readIgnoreFile('\ufeff# c\n /a/ \n\n!  a/b/../c\n./d\n/\n**/x\r\n');
	t.deepEqual(patterns, ['a', '!a/c', 'd', '/', '**/x']);
	const matcher = new IgnoreMatcher(['node_modules', '*.log', '**/tmp', 'doc/**', '[a-c]?', 'w\\*', '!keep.log']);
	const ignored = ['node_modules/x/y', 'a.log', 'x/tmp/y', 'tmp', 'doc/x', 'b1', 'w*'];
	const kept = ['src/node_modules', 'x/a.log', 'keep.log', 'd1', 'wx', 'documents'];
	t.deepEqual(ignored.filter((path) => !matcher.ignores(path)), []);
	t.deepEqual(kept.filter((path) => matcher.ignores(path)), []);
	t.true(matcher.hasExceptions);
	t.throws(() => new IgnoreMatcher(['!']), { message: 'illegal exclusion pattern: "!"' });
	for (const bad of ['[', '[]a]', '[-]', 'a[', 'a\\', '[a-']) t.throws(() => new IgnoreMatcher([bad]), { message: 'syntax error in pattern' }, bad);
	t.notThrows(() => new IgnoreMatcher(['[^a-z]', '[\\]]', 'a]']));
});

test('git references', (t) => {
	const ref = parseGitRef('https://user@example.com:8080/a/b.git?tag=v1&subdir=x/y&submodules=false&keep-git-dir');
	t.like(ref, {
		remote: { url: 'https://user@example.com:8080/a/b.git', host: 'example.com:8080', path: '/a/b.git', ssh: false },
		ref: 'refs/tags/v1', subdir: 'x/y', submodules: false, keepGitDir: true, indistinguishableFromLocal: false,
	});
	t.like(parseGitRef('git@example.com:a/b.git#main:../../sub'), { ref: 'main', subdir: 'sub', remote: { ssh: true, host: 'example.com', path: 'a/b.git' } });
	t.true(parseGitRef('github.com/a/b')?.indistinguishableFromLocal);
	for (const none of ['./x.git', 'https://example.com/a', 'file', 'ftp://x/y.git', '']) t.is(parseGitRef(none), undefined, none);
	t.throws(() => parseGitRef('https://x/y.git?ref=a#b'), { message: 'ref conflicts: "b" vs "a"' });
	t.throws(() => parseGitRef('https://x/y.git?foo=a'), { message: 'unexpected query "foo"' });
	t.throws(() => parseGitRef('https://x/y.git?ref=a&ref=b'), { message: 'query "ref" has multiple values' });
	t.throws(() => parseGitRef('https://x/y.git?ref='), { message: 'query "ref" has no value' });
	t.throws(() => parseGitRef('https://x/y.git?tag=a&branch=b'), { message: 'branch conflicts with tag' });
});
