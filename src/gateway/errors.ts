// A build's errors as gRPC errors with the details BuildKit's clients draw from: places in the Dockerfile, the
// vertex, what is unsupported.
import { errorDetail, statusOf } from '../../frontend/gateway/status.js';
import { FrontendError, type ErrorSource } from '../../frontend/index.js';
import { Code, RpcError, type Any } from '../grpc/index.js';
import { VertexError, isCanceled } from '../solver/index.js';

/** Any error of a build, to be sent to a caller. */
export function callError(error: unknown): RpcError {
	if (isCanceled(error)) return new RpcError(Code.CANCELED, 'context canceled', [], { cause: error });
	const { code, message, details } = statusOf(error);
	return new RpcError(code, message, [...vertexDetails(error), ...details], { cause: error });
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
