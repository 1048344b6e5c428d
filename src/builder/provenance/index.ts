// Provenance attestations: what went into a build, captured from its definitions, as an in-toto predicate.
import type { Attestation, BuildOutput } from '../../exporters/index.js';
import type { Definition } from '../../llb/index.js';
import type { Worker } from '../../ops/index.js';
import type { SourceContext } from '../../sources/index.js';
import { capture, forPlatform, type ImageMaterial } from './capture.js';
import type { ProvenanceOptions } from './options.js';
import type { SourceChoice } from '../source-choice.js';
import type { FrontendRequest } from './requests.js';
import { invocationId, predicate, predicateTypes, type BuilderFacts, type PredicateInput, type StepLayers } from './predicate.js';

export { defaultProvenance, provenanceOptions, type ProvenanceOptions } from './options.js';
export type { ImageMaterial } from './capture.js';
export type { BuilderFacts, StepLayers } from './predicate.js';
export { Producers, type FrontendRequest } from './requests.js';

export interface ProvenanceInput {
	readonly options: ProvenanceOptions;
	/** Which request a result answers. */
	readonly requestOf: (definition: Definition | undefined) => FrontendRequest;
	/** What the whole build was asked for. */
	readonly root: FrontendRequest;
	/** Of each platform of the result, in order; undefined for scratch. */
	readonly results: readonly (Definition | undefined)[];
	/** Others the frontend had solved on the way. */
	readonly others: readonly Definition[];
	/** Images the frontend asked about. */
	readonly images: readonly ImageMaterial[];
	/** The steps whose layers a result has. */
	readonly stepLayers: (definition: Definition) => Promise<readonly StepLayers[]>;
	readonly builder: BuilderFacts;
	readonly started: Date;
	readonly worker: Worker;
	readonly sources: SourceChoice;
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
			const captured = await capture([...(definition ? [definition] : []), ...input.others], asked, input);
			const { options, started, builder, root } = input;
			const request = input.requestOf(definition);
			if (options.completeMaterials && (captured.isIncomplete || captured.locals.length > 0)) throw incomplete(captured.locals);
			// Once: every exporter tells the same of this build.
			let rest: Promise<Pick<PredicateInput, 'finished' | 'invocation' | 'stepLayers'>> | undefined;
			const finish = async (): Promise<Pick<PredicateInput, 'finished' | 'invocation' | 'stepLayers'>> => ({
				finished: new Date(), invocation: invocationId(), stepLayers: definition ? await input.stepLayers(definition) : [],
			});
			const attestation: Attestation = {
				predicateType: predicateTypes[options.version],
				path: options.filename,
				inlineOnly: options.inlineOnly,
				subjects: [],
				content: async (layers = []) => predicate({ request, root, capture: captured, definition, options, started, builder, layers, ...await (rest ??= finish()) }),
			};
			return { ...result, attestations: [...result.attestations ?? [], attestation] };
		})),
	};
}

/** A predicate by itself. */
export interface PredicateRecord {
	/** What the frontend calls the result's platform; undefined where it has no name of its own. */
	readonly platform: string | undefined;
	readonly predicateType: string;
	readonly content: Uint8Array;
}

/** A predicate for each platform of a result. */
export async function predicateRecords(output: BuildOutput, input: ProvenanceInput): Promise<PredicateRecord[]> {
	const bare = { ...output, platforms: output.platforms.map((result) => ({ ...result, attestations: [] })) };
	const { platforms, multiPlatform } = await withProvenance(bare, input);
	return Promise.all(platforms.flatMap(({ id, attestations = [] }) => attestations.map(async ({ predicateType, content }) => (
		{ platform: multiPlatform ? id : undefined, predicateType, content: await content() }
	))));
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
