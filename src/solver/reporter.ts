// Turns what happens to one vertex into status events for every build that watches it.
import type { StatusSink, Vertex, VertexLog, VertexStatus, VertexWarning } from './status.js';

/** Progress of one piece of a vertex's work; every change is sent at once, the sinks thin them out. */
export class StatusReporter {
	#status: VertexStatus;

	constructor(private readonly send: StatusSink, vertex: string, id: string, total: number, name: string) {
		const now = new Date();
		this.#status = { id, vertex, name, total, current: 0, timestamp: now, started: now };
		this.send({ statuses: [this.#status] });
	}

	/** Sets what is done so far (bytes), and the total when it has become known. */
	update(current: number, total = this.#status.total): void {
		this.#status = { ...this.#status, current, total, timestamp: new Date() };
		this.send({ statuses: [this.#status] });
	}

	done(): void {
		const now = new Date();
		this.#status = { ...this.#status, timestamp: now, completed: now };
		this.send({ statuses: [this.#status] });
	}
}

export class VertexReporter {
	#vertex: Vertex;
	readonly #sinks = new Set<StatusSink>();

	constructor(vertex: Pick<Vertex, 'digest' | 'inputs' | 'name' | 'progressGroup'>) {
		this.#vertex = vertex;
	}

	get digest(): string {
		return this.#vertex.digest;
	}

	/** Adds a watcher and tells it where the vertex stands. */
	watch(sink: StatusSink): void {
		this.#sinks.add(sink);
		sink({ vertexes: [this.#vertex] });
	}

	/** Everybody who watches `other` now watches this one too. */
	watchWith(other: VertexReporter): void {
		for (const sink of other.#sinks) if (!this.#sinks.has(sink)) this.watch(sink);
	}

	unwatch(sink: StatusSink): void {
		this.#sinks.delete(sink);
	}

	started(): void {
		if (this.#vertex.started && !this.#vertex.completed) return;
		const { completed: _completed, error: _error, ...vertex } = this.#vertex;
		this.#set({ ...vertex, started: new Date() });
	}

	cached(): void {
		const now = new Date();
		this.#set({ ...this.#vertex, cached: true, started: this.#vertex.started ?? now, completed: now });
	}

	completed(): void {
		const now = new Date();
		this.#set({ ...this.#vertex, started: this.#vertex.started ?? now, completed: now });
	}

	failed(error: string): void {
		const now = new Date();
		this.#set({ ...this.#vertex, started: this.#vertex.started ?? now, completed: now, error });
	}

	/** Nobody wants it any more: what is under way has come to nothing. */
	canceled(): void {
		if (this.#vertex.started && !this.#vertex.completed) this.failed('context canceled');
	}

	log(stream: 1 | 2, data: Uint8Array): void {
		const log: VertexLog = { vertex: this.#vertex.digest, stream, data, timestamp: new Date() };
		for (const sink of this.#sinks) sink({ logs: [log] });
	}

	warn(warning: Omit<VertexWarning, 'vertex'>): void {
		for (const sink of this.#sinks) sink({ warnings: [{ ...warning, vertex: this.#vertex.digest }] });
	}

	/** Opens a progress line below the vertex, e.g. `extracting sha256:...`. `action`: what such lines have in common. */
	status(id: string, total = 0, action = id): StatusReporter {
		return new StatusReporter((status) => {
			for (const sink of this.#sinks) sink(status);
		}, this.#vertex.digest, id, total, action);
	}

	#set(vertex: Vertex): void {
		this.#vertex = vertex;
		for (const sink of this.#sinks) sink({ vertexes: [vertex] });
	}
}
