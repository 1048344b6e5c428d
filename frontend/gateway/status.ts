// An error of this frontend as the status BuildKit's clients get: text, code, and details they draw from (the
// place in the Dockerfile). BuildKit writes details as JSON.
import { omitEmpty, sourceJson } from '../subrequests/json.js';
import type { ErrorSource } from '../errors.js';
import { FrontendError, messageOf } from '../errors.js';
import { UnsupportedError } from '../subrequests/index.js';
import { Code, RpcError, type Status } from '../../src/grpc/index.js';

export function statusOf(error: unknown): Status {
	const details: Status['details'] = [];
	let code = Code.UNKNOWN;
	for (let e = error; e instanceof Error; e = e.cause) {
		// An error that came as a status has its places in the details already. Clients read them from the last on.
		if (e instanceof FrontendError && !(e.cause instanceof RpcError)) details.unshift(...e.sources.map(sourceDetail).reverse());
		if (e instanceof UnsupportedError) {
			code = Code.UNIMPLEMENTED;
			details.unshift(errorDetail(e.kind === 'capability' ? 'FrontendCap' : 'Subrequest', { name: e.feature }));
		}
		if (e instanceof RpcError) {
			code = e.code;
			details.unshift(...e.details);
		}
	}
	return { code, message: messageOf(error), details };
}

/** One of BuildKit's errdefs. */
export function errorDetail(type: string, value: object): { typeUrl: string; value: Uint8Array } {
	return { typeUrl: `github.com/moby/buildkit/errdefs.${type}+json`, value: Buffer.from(JSON.stringify(value)) };
}

function sourceDetail({ info, ranges }: ErrorSource): { typeUrl: string; value: Uint8Array } {
	return errorDetail('Source', {
		info: sourceJson(info),
		ranges: ranges.map(({ start, end }) => ({ start: omitEmpty({ ...start }), end: omitEmpty({ ...end }) })),
	});
}
