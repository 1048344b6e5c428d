// One JSON object a line and status event, with the field names of BuildKit's Go client.
import type { SolveStatus, Vertex, VertexLog, VertexStatus, VertexWarning } from '../solver/status.js';

export function rawJson(status: SolveStatus): string {
	return `${JSON.stringify({
		vertexes: list(status.vertexes, vertex),
		statuses: list(status.statuses, vertexStatus),
		logs: list(status.logs, log),
		warnings: list(status.warnings, warning),
	})}\n`;
}

function list<T>(items: readonly T[] | undefined, convert: (item: T) => object): readonly object[] | undefined {
	return items && items.length > 0 ? items.map(convert) : undefined;
}

/** Go leaves out empty values of most fields. */
function filled<T>(value: T): T | undefined {
	return value === '' || value === 0 || value === false || (Array.isArray(value) && value.length === 0) ? undefined : value;
}

function vertex({ digest, inputs, name, started, completed, cached, error, progressGroup }: Vertex): object {
	const group = progressGroup && { id: filled(progressGroup.id), name: filled(progressGroup.name), weak: filled(progressGroup.weak) };
	return { digest, inputs: filled(inputs), name: filled(name), started, completed, cached: filled(cached), error: filled(error), progressGroup: group };
}

function vertexStatus({ id, vertex: digest, name, total, current, timestamp, started, completed }: VertexStatus): object {
	return { id, vertex: digest, name: filled(name), total: filled(total), current, timestamp, started, completed };
}

function log({ vertex: digest, stream, data, timestamp }: VertexLog): object {
	return { vertex: digest, stream, data: base64(data), timestamp };
}

function warning({ vertex: digest, level, short, detail, url, source, ranges }: VertexWarning): object {
	return {
		vertex: filled(digest),
		level: filled(level),
		short: base64(Buffer.from(short)),
		detail: filled(detail.map((text) => base64(Buffer.from(text)))),
		url: filled(url),
		sourceInfo: source && { filename: source.filename, data: base64(source.data), language: filled(source.language) },
		range: ranges,
	};
}

function base64(data: Uint8Array): string {
	return Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('base64');
}
