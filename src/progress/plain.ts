// Plain lines, for logs of CI systems: BuildKit's `plain` format. One vertex is printed at a time; the
// display stays with it for a while before it turns to another one that has something to say.
import type { SolveStatus, VertexStatus } from '../solver/status.js';
import { formatTransfer } from './bytes.js';
import { errorLogs } from './error-logs.js';
import { seconds } from './intervals.js';
import type { Output } from './output.js';
import { Trace, type TracedVertex } from './trace.js';

/** Seconds: a vertex in the background is shown when it had to wait this long. */
const maxDelay = 10;
/** Seconds: the least time with one vertex, longer the more of the output is its. */
const antiFlicker = 5;
/** A transfer is printed again after this many seconds or when it has come this much of its total further. */
const minStatusSeconds = 5;
const minStatusShare = 0.05;
/** Log lines of a vertex kept for the report of its failure. */
const keptLines = 10;

/** What was printed of one vertex. */
interface Printed {
	readonly index: number;
	lines: number;
	/** Bytes printed of the line that is not complete. */
	partialBytes: number;
	warnings: number;
	readonly statuses: Map<string, VertexStatus>;
}

export class PlainDisplay {
	readonly #trace = new Trace(keptLines);
	readonly #printed = new Map<string, Printed>();
	#current: TracedVertex | undefined;

	constructor(private readonly output: Output) {}

	update(status: SolveStatus): void {
		this.#trace.update(status);
	}

	refresh(): void {
		const changed = [...this.#trace.updates].flatMap((digest) => this.#trace.byDigest.get(digest) ?? []).filter((vertex) => !vertex.hidden);
		const completed = changed.filter((vertex) => vertex.completed).sort((a, b) => stopOf(a) - stopOf(b));
		const running = changed.filter((vertex) => !vertex.completed);
		const current = this.#current;
		if (current && completed.includes(current)) this.#print(current);
		for (const vertex of completed) {
			if (vertex !== current) this.#print(vertex);
		}
		const open = current && !current.completed ? current : undefined;
		if (running.length > 0) this.#printRunning(running, open);
		else if (!open) this.#showAnyRunning();
	}

	done(): void {
		this.refresh();
		this.output.write(errorLogs(this.#trace));
	}

	/** At least one running vertex stands last, though none has anything new. */
	#showAnyRunning(): void {
		for (const vertex of this.#trace.visible()) {
			if (vertex.started && !vertex.completed) return this.#print(vertex);
		}
	}

	/** @param current the running vertex the display is at, if any */
	#printRunning(running: readonly TracedVertex[], current: TracedVertex | undefined): void {
		if (current && running.includes(current)) this.#print(current);
		const now = Date.now();
		const candidates = [...new Set(current ? [...running, current] : running)].map((vertex) => {
			const waited = (now - vertex.activeSince) / 1000;
			return { vertex, waited, speed: vertex.events / Math.max(waited, 0.001), overdue: waited > maxDelay && vertex !== current };
		});
		const busiest = candidates.reduce((best, one) => (one.overdue || (!best.overdue && one.speed > best.speed) ? one : best));
		if (!current || busiest.overdue) return this.#print(busiest.vertex);
		const total = candidates.reduce((sum, { speed }) => sum + speed, 0);
		const own = candidates.find(({ vertex }) => vertex === current);
		if (own && antiFlicker / Math.max(1 - own.speed / total, Number.EPSILON) < own.waited) this.#print(busiest.vertex);
	}

	#print(vertex: TracedVertex): void {
		const printed = this.#printedOf(vertex);
		const id = `#${printed.index}`;
		const out: (string | Buffer)[] = [];
		if (vertex !== this.#current) out.push(...this.#switch(), `${id} ${vertex.name}\n`);
		const hasOpenStatus = this.#statuses(vertex, printed, id, out);
		for (; printed.warnings < vertex.warnings.length; printed.warnings++) out.push(`${id} WARN: ${vertex.warnings[printed.warnings]?.short ?? ''}\n`);
		this.#logs(vertex, printed, id, out);
		this.#current = vertex;
		if (vertex.completed && !hasOpenStatus) {
			this.#current = undefined;
			vertex.events = 0;
			if (printed.partialBytes > 0) out.push('\n');
			printed.partialBytes = 0;
			out.push(`${id} ${outcome(vertex)}\n`);
		}
		this.#trace.updates.delete(vertex.digest);
		for (const part of out) this.output.write(part);
	}

	/** Leaves the current vertex for another one. */
	#switch(): string[] {
		const isFirst = this.#printed.size === 1;
		const current = this.#current;
		if (!current) return isFirst ? [] : ['\n'];
		const printed = this.#printedOf(current);
		const newline = printed.partialBytes > 0 ? '\n' : '';
		printed.partialBytes = 0;
		current.events = 0;
		return [`${newline}#${printed.index} ...\n`, '\n'];
	}

	#printedOf(vertex: TracedVertex): Printed {
		let printed = this.#printed.get(vertex.digest);
		if (!printed) {
			printed = { index: this.#printed.size + 1, lines: 0, partialBytes: 0, warnings: 0, statuses: new Map() };
			this.#printed.set(vertex.digest, printed);
		}
		return printed;
	}

	/** True when a transfer goes on, though the vertex may be done. */
	#statuses(vertex: TracedVertex, printed: Printed, id: string, out: (string | Buffer)[]): boolean {
		let hasOpen = false;
		for (const status of vertex.statuses.values()) {
			if (!status.started || !vertex.statusUpdates.has(status.id)) continue;
			const last = printed.statuses.get(status.id);
			if (last && !status.completed && !hasMoved(last, status)) continue;
			printed.statuses.set(status.id, status);
			out.push(`${id} ${statusLine(status)}\n`);
			if (!status.completed) hasOpen = true;
		}
		vertex.statusUpdates.clear();
		return hasOpen;
	}

	#logs(vertex: TracedVertex, printed: Printed, id: string, out: (string | Buffer)[]): void {
		const { lines } = vertex;
		for (let i = Math.max(printed.lines - vertex.droppedLines, 0); i < lines.length; i++) {
			const line = lines[i];
			if (!line) break;
			if (printed.partialBytes > 0) out.push(line.text.subarray(printed.partialBytes));
			else out.push(`${id} `, line.text);
			if (!line.complete) {
				printed.partialBytes = line.text.length;
				break;
			}
			out.push('\n');
			printed.partialBytes = 0;
			printed.lines = vertex.droppedLines + i + 1;
		}
		this.#trace.dropLines(vertex);
	}
}

function stopOf(vertex: TracedVertex): number {
	return vertex.intervals.at(-1)?.stop ?? 0;
}

function hasMoved(last: VertexStatus, now: VertexStatus): boolean {
	const share = now.total > 0 ? (now.current - last.current) / now.total : 0;
	return share >= minStatusShare || now.timestamp.getTime() - last.timestamp.getTime() >= minStatusSeconds * 1000;
}

function statusLine({ id, current, total, started, completed, timestamp }: VertexStatus): string {
	const transfer = formatTransfer(current, total);
	const time = started ? ((completed ?? timestamp).getTime() - started.getTime()) / 1000 : 0;
	return [id, transfer, time > 0.01 ? `${time.toFixed(1)}s` : '', completed ? 'done' : ''].filter((part) => part !== '').join(' ');
}

function outcome(vertex: TracedVertex): string {
	if (vertex.canceled) return 'CANCELED';
	if (vertex.error !== '') return `ERROR: ${vertex.error}`;
	if (vertex.cached) return 'CACHED';
	return `DONE ${seconds(vertex.intervals, Date.now()).toFixed(1)}s`;
}
