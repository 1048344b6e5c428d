// What is known of a build: the status events put together, vertex by vertex.
import type { SolveStatus, Vertex, VertexLog, VertexStatus, VertexWarning } from '../solver/status.js';
import { mergeIntervals, type Interval } from './intervals.js';

/** A line of a vertex's log: `0.123 text`; the last one may still be without its end. */
export interface LogLine {
	text: Buffer;
	complete: boolean;
}

/** One line of the display: a vertex, or a progress group that stands for several. */
export class TracedVertex {
	name = '';
	error = '';
	cached = false;
	/** A group none of whose real members has started. */
	hidden = false;
	readonly lines: LogLine[] = [];
	/** Of `lines`, how many were dropped because there were too many to keep. */
	droppedLines = 0;
	readonly statuses = new Map<string, VertexStatus>();
	/** Ids of statuses that changed since `takeStatusUpdates`. */
	readonly statusUpdates = new Set<string>();
	readonly warnings: VertexWarning[] = [];
	/** Log bytes received. */
	logBytes = 0;
	/** Events since `activeSince`. */
	events = 0;
	activeSince = 0;
	readonly #intervals = new Map<number, Interval>();
	#merged: readonly Interval[] = [];

	constructor(readonly digest: string) {}

	get intervals(): readonly Interval[] {
		return this.#merged;
	}

	get started(): boolean {
		return this.#merged.length > 0;
	}

	get completed(): boolean {
		return this.#merged.at(-1)?.stop !== undefined;
	}

	get canceled(): boolean {
		return this.error.endsWith('context canceled');
	}

	/** Adds a run, or replaces what was known of the one that started at the same time. */
	addInterval({ started, completed }: Pick<Vertex, 'started' | 'completed'>): void {
		if (!started) return;
		this.#intervals.set(started.getTime(), { start: started.getTime(), ...(completed && { stop: completed.getTime() }) });
		this.#merged = mergeIntervals(this.#intervals.values());
	}

	countEvent(): void {
		if (this.events === 0) this.activeSince = Date.now();
		this.events++;
	}
}

interface Group {
	readonly shown: TracedVertex;
	readonly members: Map<string, Vertex>;
}

export class Trace {
	/** Every vertex that was announced, groups included; members of groups lead to their group. */
	readonly byDigest = new Map<string, TracedVertex>();
	/** Those that have started, in that order. */
	readonly shown: TracedVertex[] = [];
	/** Digests of what changed; whoever shows a change removes it. */
	readonly updates = new Set<string>();
	/** Milliseconds since the epoch of the first start. */
	startTime: number | undefined;
	readonly #groups = new Map<string, Group>();

	/** @param keptLines how many log lines a vertex keeps */
	constructor(private readonly keptLines: number) {}

	update(status: SolveStatus): void {
		const groups = new Set<Group>();
		for (const vertex of status.vertexes ?? []) {
			this.startTime ??= vertex.started?.getTime();
			const group = this.#groupOf(vertex);
			if (group) groups.add(group);
			else this.#updateVertex(vertex);
		}
		for (const group of groups) this.#updateGroup(group);
		for (const one of status.statuses ?? []) this.#updateStatus(one);
		for (const warning of status.warnings ?? []) this.#addWarning(warning);
		for (const log of status.logs ?? []) this.#addLog(log);
	}

	/** Vertices that are lines of their own. */
	*visible(): Generator<TracedVertex> {
		for (const vertex of new Set(this.byDigest.values())) {
			if (!vertex.hidden) yield vertex;
		}
	}

	#updateVertex(vertex: Vertex): void {
		const known = this.byDigest.get(vertex.digest);
		const traced = known ?? new TracedVertex(vertex.digest);
		this.byDigest.set(vertex.digest, traced);
		if (vertex.started && !traced.started) this.shown.push(traced);
		// A vertex announced again before its start must not take back what is known.
		if (!traced.started || vertex.started) {
			traced.name = vertex.name;
			traced.error = vertex.error ?? '';
			traced.cached = vertex.cached ?? false;
		}
		traced.addInterval(vertex);
		if (vertex.started) this.#changed(traced);
	}

	#groupOf(vertex: Vertex): Group | undefined {
		if (!vertex.progressGroup) return undefined;
		const { id, name } = vertex.progressGroup;
		let group = this.#groups.get(id);
		if (!group) {
			const shown = new TracedVertex(id);
			shown.name = name;
			shown.hidden = true;
			group = { shown, members: new Map() };
			this.#groups.set(id, group);
			this.byDigest.set(id, shown);
		}
		group.members.set(vertex.digest, vertex);
		this.byDigest.set(vertex.digest, group.shown);
		return group;
	}

	#updateGroup({ shown, members }: Group): void {
		for (const member of members.values()) {
			shown.addInterval(member);
			const isReal = member.started !== undefined && member.progressGroup?.weak !== true;
			if (isReal || member.error) shown.hidden = false;
		}
		shown.cached = [...members.values()].every((member) => member.cached === true);
		shown.error = [...members.values()].find((member) => member.error)?.error ?? '';
		if (shown.hidden || !shown.started) return;
		if (!this.shown.includes(shown)) this.shown.push(shown);
		this.#changed(shown);
	}

	#updateStatus(status: VertexStatus): void {
		const traced = this.byDigest.get(status.vertex);
		if (!traced) return;
		traced.statuses.set(status.id, status);
		traced.statusUpdates.add(status.id);
		this.#changed(traced);
	}

	#addWarning(warning: VertexWarning): void {
		const traced = this.byDigest.get(warning.vertex);
		if (!traced) return;
		traced.warnings.push(warning);
		traced.countEvent();
	}

	#addLog({ vertex, data, timestamp }: VertexLog): void {
		const traced = this.byDigest.get(vertex);
		if (!traced || data.length === 0) return;
		traced.logBytes += data.length;
		const prefix = logTime(traced.started ? (timestamp.getTime() - (traced.intervals.at(-1)?.start ?? 0)) / 1000 : 0);
		let rest = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
		while (rest.length > 0) {
			const end = rest.indexOf(0x0a);
			const text = end < 0 ? rest : rest.subarray(0, end);
			const last = traced.lines.at(-1);
			if (last && !last.complete) {
				last.text = Buffer.concat([last.text, text]);
				last.complete = end >= 0;
			} else {
				traced.lines.push({ text: Buffer.concat([prefix, text]), complete: end >= 0 });
			}
			rest = end < 0 ? rest.subarray(rest.length) : rest.subarray(end + 1);
		}
		this.#changed(traced);
	}

	/** Forgets lines nobody will show any more. */
	dropLines(traced: TracedVertex): void {
		const surplus = traced.lines.length - this.keptLines;
		if (surplus <= 0) return;
		traced.lines.splice(0, surplus);
		traced.droppedLines += surplus;
	}

	#changed(traced: TracedVertex): void {
		this.updates.add(traced.digest);
		traced.countEvent();
	}
}

/** Seconds since the vertex started, with fewer places the longer it takes. */
function logTime(time: number): Buffer {
	const places = time < 10 ? 3 : time < 100 ? 2 : 1;
	return Buffer.from(`${time.toFixed(places)} `);
}
