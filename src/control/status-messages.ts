// Progress as BuildKit's messages.
import { pb } from '../llb/index.js';
import type { SolveStatus, Vertex, VertexStatus, VertexWarning } from '../solver/index.js';
import { StatusResponse, type Vertex as VertexMessage, type VertexStatus as VertexStatusMessage, type VertexWarning as WarningMessage } from './gen/control.js';

/** Several events as one message. Of each thing a vertex works on only the last state counts. */
export function statusResponse(events: readonly SolveStatus[]): StatusResponse {
	const statuses = new Map<string, VertexStatus>();
	for (const status of events.flatMap((event) => event.statuses ?? [])) statuses.set(`${status.vertex} ${status.id}`, status);
	return {
		vertexes: events.flatMap(({ vertexes = [] }) => vertexes.map(vertexMessage)),
		statuses: [...statuses.values()].map(statusMessage),
		logs: events.flatMap(({ logs = [] }) => logs.map(({ vertex, stream, data, timestamp }) => ({ vertex, stream, msg: data, timestamp }))),
		warnings: events.flatMap(({ warnings = [] }) => warnings.map(warningMessage)),
	};
}

function vertexMessage({ digest, inputs, name, cached = false, started, completed, error = '', progressGroup }: Vertex): VertexMessage {
	return {
		digest,
		inputs: [...inputs],
		name,
		cached,
		started,
		completed,
		error,
		progressGroup: progressGroup && pb.ProgressGroup.create(progressGroup),
	};
}

function statusMessage({ id, vertex, name, current, total, timestamp, started, completed }: VertexStatus): VertexStatusMessage {
	return { ID: id, vertex, name, current, total, timestamp, started, completed };
}

function warningMessage({ vertex, level, short, detail, url = '', source, ranges = [] }: VertexWarning): WarningMessage {
	return {
		vertex,
		level,
		short: Buffer.from(short),
		detail: detail.map((line) => Buffer.from(line)),
		url,
		info: source && pb.SourceInfo.create(source),
		ranges: ranges.map((range) => pb.Range.create(range)),
	};
}
