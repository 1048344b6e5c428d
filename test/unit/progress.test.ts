// The progress displays, fed with the events of small builds.
import { EventEmitter } from 'node:events';
import test from 'ava';
import { formatBytes, formatTransfer } from '../../src/progress/bytes.js';
import { displayColors } from '../../src/progress/colors.js';
import { mergeIntervals, seconds } from '../../src/progress/intervals.js';
import { LogTail } from '../../src/progress/log-tail.js';
import type { Output } from '../../src/progress/output.js';
import { PlainDisplay } from '../../src/progress/plain.js';
import { openProgress } from '../../src/progress/progress.js';
import { rawJson } from '../../src/progress/rawjson.js';
import { charWidth, pad, printable, textWidth, truncate } from '../../src/progress/text-width.js';
import { TtyDisplay } from '../../src/progress/tty.js';
import { formatWarnings } from '../../src/progress/warnings.js';
import type { SolveStatus, Vertex, VertexLog, VertexStatus, VertexWarning } from '../../src/solver/status.js';

class Collector extends EventEmitter implements Output {
	text = '';
	pending = 0;

	write(data: string | Uint8Array): void {
		this.text += typeof data === 'string' ? data : Buffer.from(data).toString('latin1');
	}

	take(): string {
		const { text } = this;
		this.text = '';
		return text;
	}

	flush(): Promise<void> {
		return Promise.resolve();
	}
}

/** Seconds after the start of the test's build. */
const base = Date.now() - 60_000;
const at = (time: number): Date => new Date(base + time * 1000);

const vertex = (digest: string, name: string, times: readonly number[] = [], more: Partial<Vertex> = {}): SolveStatus => ({
	vertexes: [{ digest, name, inputs: [], ...(times[0] !== undefined && { started: at(times[0]) }), ...(times[1] !== undefined && { completed: at(times[1]) }), ...more }],
});
const log = (digest: string, time: number, data: string | Uint8Array, stream = 1): SolveStatus => ({
	logs: [{ vertex: digest, stream, data: typeof data === 'string' ? Buffer.from(data) : data, timestamp: at(time) } satisfies VertexLog],
});
const transfer = (digest: string, id: string, current: number, total: number, times: readonly number[]): SolveStatus => ({
	statuses: [{ id, vertex: digest, name: '', current, total, timestamp: at(times.at(-1) ?? 0), ...(times[0] !== undefined && { started: at(times[0]) }), ...(times[2] !== undefined && { completed: at(times[2]) }) } satisfies VertexStatus],
});

function plain(...events: (SolveStatus | 'refresh')[]): string {
	const output = new Collector();
	const display = new PlainDisplay(output);
	for (const event of events) {
		if (event === 'refresh') display.refresh();
		else display.update(event);
	}
	display.done();
	return output.text;
}

test('plain: steps, logs, transfers, cache', (t) => {
	t.is(plain(
		vertex('a', '[1/3] FROM base', [0]), 'refresh',
		transfer('a', 'sha256:1', 0, 2_000_000, [0.1, 0.1]), 'refresh',
		transfer('a', 'sha256:1', 2_000_000, 2_000_000, [0.1, 0.5, 0.5]), 'refresh',
		vertex('a', '[1/3] FROM base', [0, 0.6]), 'refresh',
		vertex('b', '[2/3] RUN x', [0.6]), log('b', 0.7, 'one\ntwo\n'), 'refresh',
		log('b', 12.7, 'three\n'), vertex('b', '[2/3] RUN x', [0.6, 13]), 'refresh',
		vertex('c', '[3/3] RUN y', [13, 13], { cached: true }),
	), [
		'#1 [1/3] FROM base',
		'#1 sha256:1 0B / 2.00MB',
		'#1 sha256:1 2.00MB / 2.00MB 0.4s done',
		'#1 DONE 0.6s',
		'',
		'#2 [2/3] RUN x',
		'#2 0.100 one',
		'#2 0.100 two',
		'#2 12.10 three',
		'#2 DONE 12.4s',
		'',
		'#3 [3/3] RUN y',
		'#3 CACHED',
		'',
	].join('\n'));
});

test('plain: a failure is repeated with its last ten lines', (t) => {
	const lines = Array.from({ length: 12 }, (_, i) => `line ${i}\n`).join('');
	const text = plain(
		vertex('a', '[2/2] RUN false', [0]), log('a', 0.2, lines), 'refresh',
		vertex('a', '[2/2] RUN false', [0, 0.3], { error: 'process "/bin/sh -c false" did not complete successfully: exit code: 1' }),
		vertex('b', '[x] RUN other', [0, 0.3], { error: 'process: context canceled' }),
	);
	t.true(text.includes('#1 ERROR: process "/bin/sh -c false" did not complete successfully: exit code: 1\n'));
	t.true(text.includes('#2 CANCELED\n'));
	const block = text.slice(text.indexOf('------'));
	t.is(block, `------\n > [2/2] RUN false:\n${Array.from({ length: 10 }, (_, i) => `0.200 line ${i + 2}\n`).join('')}------\n`);
});

test('plain: partial lines and odd bytes pass through', (t) => {
	t.is(plain(
		vertex('a', 'A', [0]), log('a', 0.1, 'dow'), 'refresh', log('a', 0.2, 'nload\rdone'), 'refresh', log('a', 0.3, '!\n'), 'refresh',
		log('a', 0.4, Buffer.from([0xff, 0x0a])), log('a', 0.5, 'end'), vertex('a', 'A', [0, 1]),
	), '#1 A\n#1 0.100 download\rdone!\n#1 0.400 \u00ff\n#1 0.500 end\n#1 DONE 1.0s\n');
});

test('plain: vertices that interleave', (t) => {
	const text = plain(
		vertex('a', 'A', [0]), log('a', 0.1, 'a1\npart'), 'refresh',
		vertex('b', 'B', [0.1]), log('b', 0.2, 'b1\n'), vertex('b', 'B', [0.1, 0.3]), 'refresh',
		log('a', 0.4, 'ial\n'), 'refresh',
		vertex('a', 'A', [0, 0.5]),
	);
	t.is(text, '#1 A\n#1 0.100 a1\n#1 0.100 part\n#1 ...\n\n#2 B\n#2 0.100 b1\n#2 DONE 0.2s\n\n#1 A\n#1 0.100 partial\n#1 DONE 0.5s\n');
});

test('plain: nothing for what never starts, or is not known', (t) => {
	t.is(plain(vertex('a', 'A'), log('zzz', 1, 'x\n'), transfer('zzz', 'y', 1, 1, [0, 1]), { warnings: [warning('w')] }, {}), '');
});

test('plain: warnings', (t) => {
	t.is(plain(vertex('a', 'A', [0]), { warnings: [warning('careful', 'a')] }, vertex('a', 'A', [0, 1])), '#1 A\n#1 WARN: careful\n#1 DONE 1.0s\n');
});

test('plain: a progress group is one step', (t) => {
	const progressGroup = { id: 'g', name: 'group name' };
	t.is(plain(
		vertex('a', 'A', [0], { progressGroup }), 'refresh', log('a', 0.5, 'from a\n'),
		vertex('a', 'A', [0, 1], { progressGroup }), vertex('b', 'B', [3], { progressGroup: { ...progressGroup, weak: true } }), 'refresh',
		vertex('b', 'B', [3, 5], { progressGroup: { ...progressGroup, weak: true } }),
	), '#1 group name\n#1 0.500 from a\n#1 DONE 3.0s\n');
	// Weak members alone stay hidden.
	t.is(plain(vertex('c', 'C', [0, 1], { progressGroup: { id: 'h', name: 'hidden', weak: true } })), '');
});

test('plain: a build with many steps and much output prints every line once', (t) => {
	const output = new Collector();
	const display = new PlainDisplay(output);
	const expected: string[] = [];
	for (let step = 0; step < 20; step++) display.update(vertex(`v${step}`, `step ${step}`, [0]));
	for (let i = 0; i < 2000; i++) {
		const step = (i * 7) % 20;
		display.update(log(`v${step}`, 1, `line ${i} of ${step}\n`));
		expected.push(`line ${i} of ${step}`);
		if (i % 13 === 0) display.refresh();
	}
	for (let step = 0; step < 20; step++) display.update(vertex(`v${step}`, `step ${step}`, [0, 2]));
	display.done();
	const lines = output.text.split('\n').flatMap((line) => /^#\d+ 1\.000 (line .*)$/.exec(line)?.[1] ?? []);
	t.deepEqual([...lines].sort(), [...expected].sort());
	t.is(output.text.match(/DONE/g)?.length, 20);
});

function warning(short: string, digest = 'zzz'): VertexWarning {
	return { vertex: digest, level: 1, short, detail: ['more'], url: 'https://example.com' };
}

test('warnings at the end', (t) => {
	t.is(formatWarnings([], true), '');
	t.is(formatWarnings([warning('one')], false), '\n 1 warning found:\n - one\n');
	t.is(formatWarnings([warning('one'), warning('two'), warning('one', 'other')], true), '\n \u001b[33m2 warnings found:\n\u001b[0m - one\n - two\n');
});

test('rawjson has the field names of the Go client', (t) => {
	const text = rawJson({
		...vertex('sha256:a', 'A', [0, 1], { inputs: ['sha256:b'], cached: true, progressGroup: { id: 'g', name: 'n' } }),
		...transfer('sha256:a', 'x', 1, 0, [0, 1]),
		...log('sha256:a', 1, 'hi'),
		warnings: [{ ...warning('w'), source: { filename: 'Dockerfile', data: Buffer.from('FROM'), language: 'Dockerfile' }, ranges: [{ start: { line: 1, character: 0 }, end: { line: 1, character: 0 } }] }],
	});
	t.true(text.endsWith('}\n'));
	t.deepEqual(JSON.parse(text), {
		vertexes: [{ digest: 'sha256:a', inputs: ['sha256:b'], name: 'A', started: at(0).toISOString(), completed: at(1).toISOString(), cached: true, progressGroup: { id: 'g', name: 'n' } }],
		statuses: [{ id: 'x', vertex: 'sha256:a', current: 1, timestamp: at(1).toISOString(), started: at(0).toISOString() }],
		logs: [{ vertex: 'sha256:a', stream: 1, data: 'aGk=', timestamp: at(1).toISOString() }],
		warnings: [{ vertex: 'zzz', level: 1, short: 'dw==', detail: ['bW9yZQ=='], url: 'https://example.com', sourceInfo: { filename: 'Dockerfile', data: 'RlJPTQ==', language: 'Dockerfile' }, range: [{ start: { line: 1, character: 0 }, end: { line: 1, character: 0 } }] }],
	});
	t.is(rawJson({ vertexes: [] }), '{}\n');
});

/** What a terminal shows after these bytes. */
function screen(text: string, columns: number, rows: number): readonly string[] {
	const tail = new LogTail(rows, columns);
	tail.write(Buffer.from(text.replace(/\u001b\[\?25[lh]/g, ''), 'latin1'));
	return tail.lines();
}

interface Terminal {
	readonly output: Collector;
	readonly display: TtyDisplay;
	size: [number, number];
}

function terminal(columns: number, rows: number): Terminal {
	const output = new Collector();
	const made: Terminal = {
		output,
		size: [columns, rows],
		display: new TtyDisplay(output, { size: () => made.size, colors: displayColors({ NO_COLOR: '1' }), logLines: 6 }),
	};
	return made;
}

test('tty: rows are redrawn in place', (t) => {
	const { output, display } = terminal(60, 24);
	display.update(vertex('a', '[1/2] FROM base', [0, 0.5]));
	display.refresh();
	display.update(vertex('b', '[2/2] RUN x', [0.5, 2.5], { cached: false }));
	display.update(transfer('b', 'sealing layer', 1500, 3000, [1, 2, 2.2]));
	display.update(vertex('c', '[x] COPY', [1, 1], { cached: true }));
	display.done();
	const [heading, ...rows] = screen(output.text, 60, 24);
	t.regex(heading ?? '', /^\[\+\] Building 60\.\ds \(3\/3\) FINISHED$/);
	t.deepEqual(rows, [
		' => [1/2] FROM base                                    0.5s',
		' => [2/2] RUN x                                        2.0s',
		' => => sealing layer 1.50kB / 3.00kB                   1.2s',
		' => CACHED [x] COPY                                    0.0s',
	]);
	t.true(rows.every((row) => row.length < 60));
});

test('tty: the last lines of a running step', (t) => {
	const { output, display } = terminal(60, 24);
	display.update(vertex('a', 'RUN x', [0]));
	display.update(log('a', 1, Array.from({ length: 10 }, (_, i) => `line ${i}\n`).join('')));
	display.update(log('a', 1, '10%\r20%\r\u001b[31m30%\u001b[0m\u001b]0;title\u0007'));
	display.refresh();
	const rows = screen(output.text.replaceAll(/\u001b\[[02]m/g, ''), 60, 24).slice(2);
	t.deepEqual(rows, [5, 6, 7, 8, 9].map((i) => ` => => # line ${i}`).concat(' => => # 30%'));
	t.notRegex(output.text, /\u001b\]|title/);
	display.update(vertex('a', 'RUN x', [0, 2], { error: 'exit code: 1' }));
	output.take();
	display.done();
	t.true(output.text.includes(' => ERROR RUN x'));
	t.regex(output.text, /------\n > RUN x:\n1\.000 line 0\n[^]*line 9\n1\.000 10%\r20%[^]*------\n$/);
});

test('tty: names cannot control the terminal and are cut by their width', (t) => {
	const { output, display } = terminal(40, 24);
	display.update(vertex('a', `\u001b[2J\tname\r\n ${'漢'.repeat(40)}`, [0, 1]));
	display.done();
	const { text } = output;
	t.notRegex(text, /\u001b\[2J/);
	const row = text.split('\n').find((line) => line.includes('name')) ?? '';
	t.is(textWidth(row.replaceAll('\u001b[K', '')), 39);
});

test('tty: many steps fit the screen, running ones first', (t) => {
	const { output, display } = terminal(60, 10);
	for (let i = 0; i < 30; i++) display.update(vertex(`v${i}`, `step ${i}`, i === 3 ? [0] : [0, 1]));
	display.refresh();
	const rows = screen(output.text, 60, 40);
	t.is(rows.length, 9);
	t.true(rows.some((row) => row.includes('step 3 ')));
	t.true(rows.some((row) => row.includes('step 29 ')));
	display.done();
	t.is(screen(output.text, 60, 60).length, 31);
});

test('tty: a window that became narrower', (t) => {
	const screenOf = terminal(80, 24);
	screenOf.display.update(vertex('a', 'a step with a rather long name that fills its line to the end', [0, 1]));
	screenOf.display.refresh();
	screenOf.output.take();
	screenOf.size = [40, 24];
	screenOf.display.refresh();
	// The heading takes one row as before, the step's line two.
	t.true(screenOf.output.text.includes('\u001b[3A'));
	screenOf.size = [5, 2];
	t.notThrows(() => { screenOf.display.refresh(); });
});

test('tty: a terminal that is behind gets no frames until it has caught up', (t) => {
	const { output, display } = terminal(60, 24);
	output.pending = 1000;
	display.update(vertex('a', 'A', [0]));
	display.refresh();
	t.is(output.text, '');
	output.pending = 0;
	display.refresh();
	t.true(output.text.includes('A'));
});

test('log tail: what programs send to terminals', (t) => {
	const lines = (text: string | Uint8Array, height = 6, width = 10): readonly string[] => {
		const tail = new LogTail(height, width);
		// One byte at a time: sequences and characters arrive in pieces.
		for (const byte of Buffer.from(text)) tail.write(Uint8Array.of(byte));
		return tail.lines();
	};
	t.deepEqual(lines('a\nb\nc'), ['a', 'b', 'c']);
	t.deepEqual(lines('1\n2\n3\n4', 2), ['3', '4']);
	t.deepEqual(lines('0123456789abc'), ['0123456789', 'abc']);
	t.deepEqual(lines('hello\rJ'), ['Jello']);
	t.deepEqual(lines('abc\b\bX'), ['aXc']);
	t.deepEqual(lines('a\tb'), ['a       b']);
	t.deepEqual(lines('one\ntwo\u001b[1A\u001b[2K\rnew'), ['new', 'two']);
	t.deepEqual(lines('abc\u001b[D\u001b[K!'), ['ab!']);
	t.deepEqual(lines('\u001b[1;32mok\u001b[0m\u001b(B\u001b=\u001b]8;;http://x\u001b\\link\u001b]8;;\u001b\\'), ['oklink']);
	t.deepEqual(lines('a\u001b[2Jb'), [' b']);
	t.deepEqual(lines('x\u001b[99;99Hy', 3, 5), ['x', '    y']);
	t.deepEqual(lines('漢字漢字漢字'), ['漢字漢字漢', '字']);
	t.deepEqual(lines('e\u0301!'), ['e\u0301!']);
	t.deepEqual(lines(Buffer.from([0x61, 0xff, 0x62])), ['a\ufffdb']);
	t.deepEqual(lines(`a\u001b]${'x'.repeat(10_000)}`, 3, 10).length, 3);
	t.deepEqual(lines('\u0000\u0001\u0007a\u007f'), ['a']);
	const tail = new LogTail(2, 10);
	tail.write(Buffer.from('x\n'.repeat(100_000) + 'end'));
	t.deepEqual(tail.lines(), ['x', 'end']);
});

test('log tail: resized', (t) => {
	const tail = new LogTail(4, 10);
	tail.write(Buffer.from('1\n2\n3\nlonger line'));
	tail.resize(2, 4);
	t.deepEqual(tail.lines(), ['long', 'e']);
	tail.resize(5, 20);
	tail.write(Buffer.from('!'));
	t.is(tail.lines().length, 2);
});

test('widths', (t) => {
	t.deepEqual(['a', 'é', '漢', '😀', '\u0301', '\u200b', '\u0007', 'ｱ'].map(charWidth), [1, 1, 2, 2, 0, 0, 0, 1]);
	t.is(truncate('a漢b', 2), 'a');
	t.is(truncate('ab', 5), 'ab');
	t.is(pad('漢', 4), '漢  ');
	t.is(printable('a\u001b[2J\tb\n\u009b'), 'a [2J b  ');
});

test('bytes', (t) => {
	t.deepEqual([0, 999, 1000, 1234, 45_600_000, 1e12, 5e16].map(formatBytes), ['0B', '999B', '1.00kB', '1.23kB', '45.60MB', '1.00TB', '50.00PB']);
	t.is(formatTransfer(5, 0), '5B');
	t.is(formatTransfer(0, 0), '');
	t.is(formatTransfer(0, 10), '0B / 10B');
});

test('intervals', (t) => {
	t.deepEqual(mergeIntervals([{ start: 5, stop: 6 }, { start: 0, stop: 2 }, { start: 1, stop: 3 }, { start: 1, stop: 2 }]), [{ start: 0, stop: 3 }, { start: 5, stop: 6 }]);
	t.deepEqual(mergeIntervals([{ start: 5, stop: 6 }, { start: 0 }]), [{ start: 0 }]);
	t.deepEqual(mergeIntervals([{ start: 0, stop: 4 }, { start: 2 }]), [{ start: 0 }]);
	t.is(seconds([{ start: 0, stop: 1500 }, { start: 2000 }], 3000), 2.5);
});

test('colours', (t) => {
	t.is(displayColors({}).run('x'), '\u001b[34mx\u001b[0m');
	t.is(displayColors({ NO_COLOR: '1' }).error('x'), 'x');
	const own = displayColors({ BUILDKIT_COLORS: 'run=light-cyan:error=1,2,3:cancel=nonsense:foo=red:warning=default' });
	t.is(own.run('x'), '\u001b[96mx\u001b[0m');
	t.is(own.error('x'), '\u001b[38;2;1;2;3mx\u001b[0m');
	t.is(own.cancel('x'), '\u001b[33mx\u001b[0m');
	t.is(own.warning('x'), '\u001b[39mx\u001b[0m');
});

test('modes', (t) => {
	const open = (mode: string, env = {}): string => {
		const progress = openProgress({ mode, output: new Collector(), fd: 9999, env });
		progress.close();
		return progress.mode;
	};
	t.is(open('auto'), 'plain');
	t.is(open('auto', { BUILDKIT_PROGRESS: 'rawjson' }), 'rawjson');
	t.is(open('plain', { BUILDKIT_PROGRESS: 'rawjson' }), 'plain');
	t.is(open('quiet'), 'quiet');
	t.throws(() => open('tty'), { message: 'failed to get console: provided file is not a console' });
	t.throws(() => open('fancy'), { message: 'invalid progress mode fancy' });
});

test('nothing is shown after the end', (t) => {
	const output = new Collector();
	const progress = openProgress({ mode: 'plain', output, fd: 9999, env: {} });
	progress.update(vertex('a', 'A', [0]));
	progress.update({ warnings: [warning('w', 'a')] });
	progress.close();
	t.is(output.take(), '#1 A\n');
	progress.update(vertex('b', 'B', [0, 1]));
	progress.close();
	t.is(output.text, '');
	t.deepEqual(progress.warnings, [warning('w', 'a')]);
});
