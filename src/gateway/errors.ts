// A build's errors as gRPC errors with the details BuildKit's clients draw from: places in the Dockerfile, the
// vertex, what is unsupported.
import { errorDetail, statusOf } from '../../frontend/gateway/status.js';
import { FrontendError, type ErrorSource } from '../../frontend/index.js';
import { Code, RpcError, type Any } from '../grpc/index.js';
import { StepError, type LeftResult } from '../ops/index.js';
import { PolicyAction } from './gen/sourcepolicy.js';
import { VertexError, isCanceled } from '../solver/index.js';

/** Any error of a build, to be sent to a caller. `offer` gives a failed step's leftovers ids, under which the caller can use them. */
export function callError(error: unknown, offer?: (left: LeftResult) => string): RpcError {
	if (isCanceled(error)) return new RpcError(Code.CANCELED, 'context canceled', [], { cause: error });
	const { code, message, details } = statusOf(error);
	return new RpcError(code, message, [...(offer ? stepDetails(error, offer) : []), ...vertexDetails(error), ...denialDetails(error), ...details], { cause: error });
}

/** Details travel in a header, which has a limit: a file an op has in itself can be longer. */
const maxDetailBytes = 256 * 1024;

/** The op that failed, and how it left things. */
function stepDetails(error: unknown, offer: (left: LeftResult) => string): Any[] {
	for (let e = error; e instanceof Error; e = e.cause) {
		if (!(e instanceof StepError)) continue;
		const ids = (results: readonly (LeftResult | undefined)[]): string[] => results.map((left) => (left ? offer(left) : ''));
		const { op, left: { inputs, mounts, part } } = e;
		const left = { inputIDs: ids(inputs), mountIDs: ids(mounts), ...(part && { [part.$case]: { index: String(part.index) } }) };
		const detail = errorDetail('Solve', { ...left, ...(op && { op: protoJson(op) }) });
		return [detail.value.length > maxDetailBytes ? errorDetail('Solve', left) : detail];
	}
	return [];
}

/** A message as protobuf's JSON: a choice stands under its own name, and what is zero or empty is left out. */
function protoJson(value: unknown): unknown {
	if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
	if (value instanceof Map) return Object.fromEntries([...value as ReadonlyMap<string, unknown>].map(([key, member]) => [key, protoJson(member)]));
	if (Array.isArray(value)) return value.map(protoJson);
	if (typeof value === 'bigint') return String(value);
	if (typeof value !== 'object' || value === null) return value;
	return Object.fromEntries(Object.entries(value).flatMap(([key, member]: [string, unknown]): (readonly [string, unknown])[] => {
		if (isZero(member)) return [];
		if (!isChoice(member)) return [[key, protoJson(member)]];
		return [[member.$case, protoJson(member[member.$case])]];
	}));
}

function isChoice(value: unknown): value is { readonly $case: string; readonly [choice: string]: unknown } {
	return typeof value === 'object' && value !== null && '$case' in value;
}

function isZero(value: unknown): boolean {
	if (value instanceof Uint8Array || Array.isArray(value)) return value.length === 0;
	if (value instanceof Map) return value.size === 0;
	return value === undefined || value === '' || value === 0 || value === false || value === 0n;
}

/** A source that a client's judge does not allow. */
export class PolicyDeniedError extends Error {
	override readonly name = 'PolicyDeniedError';

	/** `reasons`: the judge's own, for the client. */
	constructor(message: string, readonly reasons: readonly string[]) {
		super(message);
	}
}

function denialDetails(error: unknown): Any[] {
	for (let e = error; e instanceof Error; e = e.cause) {
		if (!(e instanceof PolicyDeniedError) || e.reasons.length === 0) continue;
		const decision = { action: PolicyAction.DENY, denyMessages: e.reasons.map((message) => ({ message })) };
		return [{ typeUrl: 'github.com/moby/buildkit/policysession.DecisionResponse+json', value: Buffer.from(JSON.stringify(decision)) }];
	}
	return [];
}

function vertexDetails(error: unknown): Any[] {
	for (let e = error; e instanceof Error; e = e.cause) if (e instanceof VertexError) return [errorDetail('Vertex', { digest: e.vertex })];
	return [];
}

/** The error a frontend returned, with the places it points at. The status it came as is its cause. */
export function returnedError(error: RpcError): Error {
	const sources = error.details.flatMap((detail) => sourceOf(detail) ?? []);
	return sources.length > 0 ? new FrontendError(error.message, sources, { cause: error }) : error;
}

interface JsonPosition {
	readonly line?: number;
	readonly character?: number;
}

interface JsonSource {
	readonly info?: { readonly filename?: string; readonly data?: string; readonly language?: string };
	readonly ranges?: readonly { readonly start?: JsonPosition; readonly end?: JsonPosition }[];
}

/** undefined for other details, and for what cannot be read: it only decorates. */
function sourceOf({ typeUrl, value }: Any): ErrorSource | undefined {
	if (!typeUrl.endsWith('/errdefs.Source+json')) return undefined;
	try {
		const { info = {}, ranges = [] } = JSON.parse(Buffer.from(value).toString()) as JsonSource;
		const position = ({ line = 0, character = 0 }: JsonPosition = {}): { line: number; character: number } => ({ line, character });
		return {
			info: { filename: info.filename ?? '', data: Buffer.from(info.data ?? '', 'base64'), language: info.language ?? '', definition: undefined },
			ranges: ranges.map(({ start, end }) => ({ start: position(start), end: position(end) })),
		};
	} catch {
		return undefined;
	}
}
