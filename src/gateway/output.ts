// What a frontend hands back: BuildKit's frontend.Result.
import type { Attestation } from './gen/gateway.js';
import type { BuildReference } from './reference.js';

export interface FrontendOutput {
	/** The one result (undefined: scratch), or results by platform id. */
	readonly result: { readonly ref: BuildReference | undefined } | { readonly refs: ReadonlyMap<string, BuildReference | undefined> };
	/** `containerimage.config`, `refs.platforms`, `result.json`, ... */
	readonly metadata: ReadonlyMap<string, Uint8Array>;
	/** By platform id. */
	readonly attestations?: ReadonlyMap<string, readonly ResultAttestation[]>;
}

/** An attestation with the files it may be in. */
export type ResultAttestation = Omit<Attestation, 'ref'> & { readonly ref: BuildReference | undefined };

export function refsOf({ result }: FrontendOutput): readonly (BuildReference | undefined)[] {
	return 'refs' in result ? [...result.refs.values()] : [result.ref];
}
