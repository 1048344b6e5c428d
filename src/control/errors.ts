// Errors as clients expect them: code, text, and the places in the sources that clients print excerpts of.
import { FrontendError, type ErrorSource } from '../../frontend/index.js';
import { Code, RpcError, toRpcError, type Any } from '../grpc/index.js';
import type { SourceInfo } from '../llb/index.js';
import { VertexError, isCanceled } from '../solver/index.js';

/** A failed build as a status with BuildKit's details. */
export function buildError(error: unknown): RpcError {
	if (isCanceled(error)) return new RpcError(Code.CANCELED, 'context canceled', [], { cause: error });
	const { code, message, details } = toRpcError(error);
	return new RpcError(code, message, [...details, ...detailsOf(error)], { cause: error });
}

/** Of the error and what caused it, outermost first: a client prints the innermost first. */
function detailsOf(error: unknown): Any[] {
	if (!(error instanceof Error)) return [];
	return [
		...(error instanceof FrontendError ? [...error.sources].reverse().map(sourceDetail) : []),
		...(error instanceof VertexError ? [detail('Vertex', { digest: error.vertex })] : []),
		...(error.cause instanceof RpcError ? error.cause.details : []),
		...detailsOf(error.cause),
	];
}

function sourceDetail({ info, ranges }: ErrorSource): Any {
	return detail('Source', { info: sourceJson(info), ranges });
}

function sourceJson({ filename, data, language }: SourceInfo): object {
	return { filename, data: Buffer.from(data).toString('base64'), language };
}

/** BuildKit's own details are JSON of Go's structs, whatever the type says elsewhere. */
function detail(type: string, value: object): Any {
	return { typeUrl: `github.com/moby/buildkit/errdefs.${type}+json`, value: Buffer.from(JSON.stringify(value)) };
}
