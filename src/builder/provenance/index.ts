// Provenance attestations: what went into a build, captured from its definitions, as an in-toto predicate.
import type { Attestation, BuildOutput } from '../../exporters/index.js';
import type { Definition } from '../../llb/index.js';
import type { Worker } from '../../ops/index.js';
import type { SourceContext } from '../../sources/index.js';
import { capture, forPlatform, type ImageMaterial } from './capture.js';
import type { ProvenanceOptions } from './options.js';
import { predicate, predicateTypes, type FrontendRequest } from './predicate.js';

export { provenanceOptions, type ProvenanceOptions } from './options.js';
export type { ImageMaterial } from './capture.js';
export type { FrontendRequest } from './predicate.js';

export interface ProvenanceInput {
	readonly options: ProvenanceOptions;
	readonly request: FrontendRequest | undefined;
	/** Of each platform of the result, in order; undefined for scratch. */
	readonly results: readonly (Definition | undefined)[];
	/** Others the frontend had solved on the way. */
	readonly others: readonly Definition[];
	/** Images the frontend asked about. */
	readonly images: readonly ImageMaterial[];
	readonly started: Date;
	readonly worker: Worker;
	readonly context: SourceContext;
}

/** The result with a provenance attestation for each platform. Throws where complete materials were asked for and are not. */
export async function withProvenance(output: BuildOutput, input: ProvenanceInput): Promise<BuildOutput> {
	const platforms = output.platforms.map(({ platform }) => platform);
	return {
		...output,
		platforms: await Promise.all(output.platforms.map(async (result, i) => {
			const definition = input.results[i];
			const asked = output.multiPlatform ? forPlatform(input.images, result.platform, platforms) : input.images;
			const captured = await capture([...(definition ? [definition] : []), ...input.others], asked, input.worker, input.context);
			const { options, request, started } = input;
			if (options.completeMaterials && (captured.isIncomplete || captured.locals.length > 0)) throw incomplete(captured.locals);
			let made: Promise<Uint8Array> | undefined;
			const attestation: Attestation = {
				predicateType: predicateTypes[options.version],
				path: options.filename,
				inlineOnly: options.inlineOnly,
				subjects: [],
				// Once: every exporter tells the same of this build.
				content: () => (made ??= Promise.resolve(predicate({ request, capture: captured, definition, options, started, finished: new Date() }))),
			};
			return { ...result, attestations: [...result.attestations ?? [], attestation] };
		})),
	};
}

/** The predicates as clients show them: under `buildx.build.provenance`, base64; of several platforms each under its own. */
export async function provenanceMetadata({ platforms, multiPlatform }: BuildOutput): Promise<Record<string, string>> {
	const entries = await Promise.all(platforms.map(async ({ id, attestations = [] }) => {
		const attestation = attestations.find(({ predicateType }) => (Object.values(predicateTypes) as string[]).includes(predicateType));
		if (!attestation) return [];
		return [[multiPlatform ? `buildx.build.provenance/${id}` : 'buildx.build.provenance', Buffer.from(await attestation.content()).toString('base64')] as const];
	}));
	return Object.fromEntries(entries.flat());
}

function incomplete(locals: readonly string[]): Error {
	const text = 'provenance materials are incomplete\n\nThe build requested complete provenance materials, but not all dependencies could be captured.';
	if (locals.length === 0) return new Error(text);
	return new Error(`${text}\n\nUncaptured local sources:${locals.map((name) => `\n  - ${name === '' ? '<unnamed>' : name}\n    reason: local_source`).join('')}`);
}
