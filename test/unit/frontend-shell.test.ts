import test from 'ava';
import { emptyEnv, Lex } from '../../frontend/shell/lex.js';

const env = new Map([['A', 'one'], ['EMPTY', ''], ['PATHS', '/usr/lib/libz.so.1'], ['STAR', 'a*b'], ['TWO', 'x  y'], ['NL', 'a\nb'], ['한', 'ko']]);

const expansions: readonly (readonly [source: string, expected: string])[] = [
	['plain', 'plain'],
	['$A-${A}-$NONE.', 'one-one-.'],
	['\\$A $. $', '$A $. $'],
	['\'$A\' "$A"', '$A one'],
	['"a\\"b\\$A\\n"', 'a"b$A\\n'],
	['a\\\tb\\', 'a\tb'],
	['$1a$10b$*$#$@', 'ab'],
	['$한 ${한}', 'ko ko'],
	['${A:-x} ${EMPTY:-x} ${EMPTY-x} ${NONE-x} ${NONE:-$A}', 'one x  x one'],
	['${A:+x} ${EMPTY:+x} ${EMPTY+x} ${NONE+x}', 'x  x '],
	['${A:?no} ${EMPTY?no}', 'one '],
	['${NONE:-"a b" \'$A\'}', 'a b $A'],
	['${NONE:-{x\\}}', '{x}'],
	['${PATHS#*/} ${PATHS##*/} ${PATHS%/*} ${PATHS%%/*}', 'usr/lib/libz.so.1 libz.so.1 /usr/lib '],
	['${PATHS%.*} ${PATHS%%.*} ${PATHS#?usr}', '/usr/lib/libz.so /usr/lib/libz /lib/libz.so.1'],
	['${STAR%\\**} ${STAR#a\\*}', 'a b'],
	['${PATHS/lib/LIB} ${PATHS//lib/LIB} ${PATHS/none/x}', '/usr/LIB/libz.so.1 /usr/LIB/LIBz.so.1 /usr/lib/libz.so.1'],
	['${PATHS//\\//_}', '_usr_lib_libz.so.1'],
	['<${PATHS//*/x}> <${EMPTY//*/x}> <${STAR//?/x}>', '<x> <x> <xxx>'],
	['${PATHS/l*z/$A}', '/usr/one.so.1'],
	['${NL#*b} ${NL/?/x}', 'a\nb x\nb'],
	['a<b <<EOF << x', 'a<b <<EOF << x'],
];

for (const [source, expected] of expansions) {
	test(`expands ${source}`, (t) => t.is(new Lex('\\').expand(source, env), expected));
}

const failures: readonly (readonly [source: string, why: string])[] = [
	['it\'s', 'unexpected end of statement while looking for matching single-quote'],
	['"a', 'unexpected end of statement while looking for matching double-quote'],
	['${A', 'unsupported modifier (\ufffd) in substitution'],
	['${', 'syntax error: missing \'}\''],
	['${}', 'syntax error: bad substitution'],
	['${:x}', 'syntax error: bad substitution'],
	['${A:-x', 'syntax error: missing \'}\''],
	['${A/x', 'syntax error: missing \'/\' in ${}'],
	['${A/x/y', 'syntax error: missing \'}\''],
	['${A=x}', 'unsupported modifier (=) in substitution'],
	['${A:=x}', 'unsupported modifier (:=) in substitution'],
	['${A:#x}', 'unsupported modifier (:#) in substitution'],
	['${NONE?}', 'NONE: is not allowed to be unset'],
	['${NONE:?}', 'NONE: is not allowed to be unset'],
	['${EMPTY:?}', 'EMPTY: is not allowed to be empty'],
	['${NONE:?needs $A}', 'NONE: needs one'],
	['${A#\\x}', 'invalid pattern (\\x) in substitution: invalid escape \'\\x\''],
];

for (const [source, why] of failures) {
	test(`refuses ${source}`, (t) => {
		const error = t.throws(() => new Lex('\\').expand(source, env));
		t.is(error.message, `failed to process ${JSON.stringify(source)}: ${why}`);
	});
}

test('words are split after expansion, unless quoted', (t) => {
	const words = (source: string): readonly string[] => new Lex('\\').process(source, env).words;
	t.deepEqual(words('a$TWO b'), ['ax', 'y', 'b']);
	t.deepEqual(words('"a$TWO" b'), ['ax  y', 'b']);
	t.deepEqual(words('a\\ b  c'), ['a b', 'c']);
	t.deepEqual(words('$NONE'), []);
	t.deepEqual(words(' a\u00a0b\u0085c '), ['a', 'b', 'c']);
});

test('the escape may be a backtick', (t) => {
	t.is(new Lex('`').expand('`$A \\$A "`"" c:\\x', env), '$A \\one " c:\\x');
});

test('raw quotes stay, unset variables stay as they are written', (t) => {
	const lex = new Lex('\\', { rawQuotes: true, skipUnsetEnv: true });
	t.is(lex.expand('"$A" \'$A\' $NONE ${NONE} ${NONE:-x} ${NONE/a/b}', env), '"one" \'$A\' $NONE ${NONE} ${NONE:-x} ${NONE/a/b}');
});

test('which variables were used', (t) => {
	const { matched, unmatched } = new Lex('\\').process('$A ${NONE:-$EMPTY} $B', env);
	t.deepEqual([...matched], ['A', 'EMPTY']);
	t.deepEqual([...unmatched], ['NONE', 'B']);
});

test('replacements of all matches know $0 and $$, as Go does', (t) => {
	const values = new Map([['V', 'aXa'], ['R', '<$0$$${0}$1>']]);
	t.is(new Lex('\\').expand('${V//X/$R}', values), 'a<X$X>a');
	t.is(new Lex('\\').expand('${V/X/$R}', values), 'a<$0$$${0}$1>a');
});

test('a long value does not take for ever', (t) => {
	const long = 'a'.repeat(100_000);
	t.is(new Lex('\\').expand(`"${long}" $X`, emptyEnv), `${long} `);
});
