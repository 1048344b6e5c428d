// The trace of a build that has ended: a span for the build, one below it for each run of a vertex, in the JSON
// that BuildKit keeps (OpenTelemetry's spans as Go writes them, one after the other).
import { createHash } from 'node:crypto';
import type { StatusResponse, Vertex } from './gen/control.js';

export const traceMediaType = 'application/vnd.buildkit.otlp.json.v0';

/** OpenTelemetry's codes of a span's status. */
const statusCode = { unset: 'Unset', error: 'Error' } as const;
/** A span within its process. */
const internalSpan = 1;
const noSpan = { TraceID: '0'.repeat(32), SpanID: '0'.repeat(16), TraceFlags: '00', TraceState: '', Remote: false };

export interface TracedBuild {
	readonly ref: string;
	readonly started: Date;
	readonly completed: Date;
	/** What it failed with; '' when it did not. */
	readonly error: string;
}

/** The spans' bytes. */
export function traceOf(build: TracedBuild, responses: readonly StatusResponse[]): Uint8Array {
	const TraceID = idOf(build.ref, 32);
	const contextOf = (name: string): object => ({ ...noSpan, TraceID, SpanID: idOf(`${build.ref} ${name}`, 16), TraceFlags: '01' });
	const runs = responses.flatMap(({ vertexes }) => vertexes).filter(({ started, completed }) => started && completed);
	const root = contextOf('build');
	const spans = [
		span('moby.buildkit.v1.Control/Solve', root, noSpan, build, [['ref', build.ref]], runs.length),
		...runs.map((vertex, i) => span(vertex.name, contextOf(`${i} ${vertex.digest}`), root, vertex, [['vertex', vertex.digest], ['cached', String(vertex.cached)]], 0)),
	];
	return Buffer.from(spans.map((one) => `${JSON.stringify(one, undefined, 2)}\n`).join(''));
}

function span(Name: string, SpanContext: object, Parent: object, { started, completed, error }: Pick<Vertex, 'started' | 'completed' | 'error'>, attributes: readonly (readonly [string, string])[], ChildSpanCount: number): object {
	return {
		Name, SpanContext, Parent, SpanKind: internalSpan,
		StartTime: started, EndTime: completed,
		Attributes: attributes.map(([Key, Value]) => ({ Key, Value: { Type: 'STRING', Value } })),
		Events: null, Links: null,
		Status: { Code: error === '' ? statusCode.unset : statusCode.error, Description: error },
		DroppedAttributes: 0, DroppedEvents: 0, DroppedLinks: 0, ChildSpanCount,
		Resource: [{ Key: 'service.name', Value: { Type: 'STRING', Value: 'obd-buildd' } }],
		InstrumentationLibrary: { Name: 'obd', Version: '', SchemaURL: '' },
	};
}

function idOf(text: string, digits: number): string {
	return createHash('sha256').update(text).digest('hex').slice(0, digits);
}
