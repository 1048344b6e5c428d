// The live display on a terminal: one line a vertex, those that run with their time ticking, transfers and
// the last lines of output below them. Redrawn in place, in the form of BuildKit's `tty` progress.
import type { SolveStatus } from '../solver/status.js';
import { formatTransfer } from './bytes.js';
import type { Colors, Paint } from './colors.js';
import { errorLogs } from './error-logs.js';
import { mergeIntervals, seconds, type Interval } from './intervals.js';
import { LogTail } from './log-tail.js';
import type { Output } from './output.js';
import { pad, printable, textWidth, truncate } from './text-width.js';
import { Trace, type TracedVertex } from './trace.js';

export interface TtyOptions {
	/** Columns and rows of the terminal now. */
	readonly size: () => readonly [number, number];
	readonly colors: Colors;
	/** Lines of output shown below a running vertex. */
	readonly logLines: number;
}

/** One line of the display. */
interface Row {
	readonly name: string;
	/** Bytes of a transfer, or ''. */
	readonly transfer: string;
	readonly intervals: readonly Interval[];
	readonly isCompleted: boolean;
	readonly paint: Paint | undefined;
	/** The vertex, in its own row. */
	readonly vertex?: TracedVertex;
}

const prefix = ' => ';
const logPrefix = ' => => # ';
const minLogLines = 6;
/** Log lines of a vertex kept for the report of its failure. */
const keptLines = 5000;
/** Below this many columns for a name there is no point in a line. */
const minName = 12;

export class TtyDisplay {
	readonly #trace = new Trace(keptLines);
	readonly #tails = new Map<TracedVertex, LogTail>();
	/** How often the output of a vertex was shown, for a fair share of the rows. */
	readonly #shownTails = new Map<TracedVertex, number>();
	/** Widths of the lines of the last drawing. */
	#drawn: readonly number[] = [];

	constructor(private readonly output: Output, private readonly options: TtyOptions) {}

	update(status: SolveStatus): void {
		this.#trace.update(status);
		for (const { vertex: digest, data } of status.logs ?? []) {
			const vertex = this.#trace.byDigest.get(digest);
			if (!vertex) continue;
			this.#tail(vertex).write(data);
			if (vertex.lines.length > 2 * keptLines) this.#trace.dropLines(vertex);
		}
	}

	refresh(): void {
		// A terminal that is behind gets the newest state once it has caught up, not every one between.
		if (this.output.pending === 0) this.#draw(false);
	}

	done(): void {
		this.#draw(true);
		this.output.write(errorLogs(this.#trace));
	}

	#tail(vertex: TracedVertex): LogTail {
		let tail = this.#tails.get(vertex);
		if (!tail) {
			const [columns] = this.options.size();
			tail = new LogTail(this.options.logLines, tailWidth(columns));
			this.#tails.set(vertex, tail);
		}
		return tail;
	}

	#draw(isFinal: boolean): void {
		const [columns, rowCount] = this.options.size();
		const rows = [...this.#trace.shown].flatMap((vertex) => (vertex.hidden ? [] : this.#rows(vertex)));
		const tails = isFinal ? [] : this.#chooseTails(rows, rowCount);
		const hidden = tails.reduce((sum, vertex) => sum + this.#tail(vertex).lines().length, 0);
		const shown = isFinal ? rows : fit(rows, rowCount - 2 - hidden);
		const lines = [this.#heading(columns, isFinal)];
		for (const row of shown) {
			const line = this.#line(row, columns);
			if (line === undefined) continue;
			lines.push(line);
			if (row.vertex && tails.includes(row.vertex)) lines.push(...this.#logRows(row.vertex, columns, rowCount));
		}
		this.#write(lines, columns);
	}

	/** Goes back to the first line of the last drawing and draws over it. */
	#write(lines: readonly string[], columns: number): void {
		// Lines of a drawing that was wider than the terminal is now take several of its rows.
		const up = this.#drawn.reduce((sum, width) => sum + Math.max(Math.ceil(width / columns), 1), 0);
		const back = up > 0 ? `\u001b[${up}A` : '';
		const body = lines.map((line) => `${line}\u001b[K\n`).join('');
		this.output.write(`\u001b[?25l${back}\r${body}\u001b[J\u001b[?25h`);
		this.#drawn = lines.map((line) => textWidth(withoutColors(line)));
	}

	#heading(columns: number, isFinal: boolean): string {
		const all = [...this.#trace.visible()];
		const completed = all.filter((vertex) => vertex.completed).length;
		const finished = isFinal && completed > 0 && completed === all.length ? ' FINISHED' : '';
		const elapsed = (Date.now() - (this.#trace.startTime ?? Date.now())) / 1000;
		return truncate(`[+] Building ${elapsed.toFixed(1)}s (${completed}/${all.length})${finished}`, columns);
	}

	#rows(vertex: TracedVertex): readonly Row[] {
		const { colors } = this.options;
		const running = vertex.intervals.some(({ stop }) => stop === undefined);
		const own: Row = {
			name: `${marker(vertex)}${printable(vertex.name)}`,
			transfer: '',
			intervals: vertex.intervals,
			isCompleted: !running,
			paint: vertex.canceled ? colors.cancel : vertex.error !== '' ? colors.error : colors.run,
			vertex,
		};
		const transfers = [...vertex.statuses.values()].filter((status) => status.started).map((status): Row => ({
			name: `=> ${printable(status.id)}`,
			transfer: formatTransfer(status.current, status.total),
			intervals: mergeIntervals([{ start: status.started?.getTime() ?? 0, ...(status.completed && { stop: status.completed.getTime() }) }]),
			isCompleted: status.completed !== undefined,
			paint: colors.run,
		}));
		const warnings = vertex.warnings.map((warning): Row => ({
			name: `WARN: ${printable(warning.short)}`,
			transfer: '',
			intervals: vertex.intervals.slice(-1),
			isCompleted: true,
			paint: colors.warning,
		}));
		return [own, ...transfers, ...warnings];
	}

	#line({ name, transfer, intervals, isCompleted, paint }: Row, columns: number): string | undefined {
		if (intervals.length === 0) return undefined;
		const time = seconds(intervals, Date.now());
		const timer = ` ${(time < 0.05 ? 0 : time).toFixed(1)}s`;
		let left = columns - prefix.length - timer.length - 2;
		const withTransfer = transfer !== '' && left + transfer.length > 20;
		if (withTransfer) left -= transfer.length + 1;
		if (left < minName) return undefined;
		const text = `${prefix}${truncate(name, left)}${withTransfer ? ` ${transfer}` : ''}`;
		const line = pad(text, columns - timer.length - 1) + timer;
		return isCompleted && paint ? paint(line) : line;
	}

	/** The running vertices whose output is shown: those with the most, as far as there is room. */
	#chooseTails(rows: readonly Row[], rowCount: number): readonly TracedVertex[] {
		const running = rows.filter((row) => !row.isCompleted);
		const candidates = running.flatMap(({ vertex }) => (vertex && vertex.logBytes > 0 ? [vertex] : []));
		const weight = (vertex: TracedVertex): number => vertex.logBytes + (this.#shownTails.get(vertex) ?? 0) * 50;
		candidates.sort((a, b) => weight(b) - weight(a));
		const needed = this.#logLines(rowCount) + 3;
		return candidates.slice(0, Math.max(Math.ceil((rowCount - 2 - running.length) / needed) - 1, 0));
	}

	#logLines(rowCount: number): number {
		return Math.max(minLogLines, Math.min(this.options.logLines, rowCount - minLogLines - 1));
	}

	#logRows(vertex: TracedVertex, columns: number, rowCount: number): readonly string[] {
		const tail = this.#tail(vertex);
		tail.resize(this.#logLines(rowCount), tailWidth(columns));
		this.#shownTails.set(vertex, (this.#shownTails.get(vertex) ?? 0) + 1);
		return tail.lines().map((line) => this.options.colors.faint(`${logPrefix}${line}`));
	}
}

function tailWidth(columns: number): number {
	return Math.max(columns - logPrefix.length - 1, minLogLines);
}

function marker(vertex: TracedVertex): string {
	const cached = vertex.cached ? 'CACHED ' : '';
	if (vertex.error === '') return cached;
	return cached + (vertex.canceled ? 'CANCELED ' : 'ERROR ');
}

/** The last rows that fit; running ones that would be cut off take the place of the first completed ones. */
function fit(rows: readonly Row[], limit: number): readonly Row[] {
	if (rows.length <= limit) return rows;
	if (limit <= 0) return [];
	const last = rows.slice(-limit);
	const cut = rows.slice(0, -limit).filter((row) => !row.isCompleted);
	let surplus = cut.length;
	const kept = last.filter((row) => !row.isCompleted || surplus-- <= 0);
	const free = last.length - kept.length;
	return [...(free > 0 ? cut.slice(-free) : []), ...kept];
}

function withoutColors(line: string): string {
	// eslint-disable-next-line no-control-regex
	return line.replace(/\u001b\[[0-9;]*m/g, '');
}
