// The built-in frontend, dockerfile.v0: from a Dockerfile to what exporters take.
import { buildDockerfile, encodeImage, handleSubrequest, type FrontendClient } from '../../frontend/index.js';
import type { Definition, Platform } from '../llb/index.js';
import type { Build } from './build.js';
import { metadataKey, type FrontendOutput } from './output.js';

export interface DockerfileRequest {
	/** `filename`, `target`, `build-arg:K`, `platform`, `requestid`, ... */
	readonly attributes: Readonly<Record<string, string>>;
	/** Definitions in place of contexts. */
	readonly inputs?: ReadonlyMap<string, Definition>;
	/** The session that has the local sources, where a definition has to say. */
	readonly sessionId?: string;
}

/** Answers a subrequest, or makes LLB of a Dockerfile; what it comes to runs when it is wanted. */
export async function solveDockerfile(build: Build, { attributes, inputs, sessionId }: DockerfileRequest): Promise<FrontendOutput> {
	const client: FrontendClient = {
		opts: attributes,
		buildPlatform: build.platform,
		...(sessionId !== undefined && { sessionId }),
		solve: async (definition) => {
			const reference = build.reference(definition);
			await reference?.result();
			return reference;
		},
		resolveImageConfig: (source, options) => build.resolveImageConfig(source, options),
		resolveSourceMeta: (source, options) => build.resolveSourceMeta(source, options),
		...(inputs && { inputs: () => Promise.resolve(inputs) }),
		warn: (warning) => { build.warn(warning); },
	};
	const answer = await handleSubrequest(client);
	if (answer) return { result: { ref: undefined }, metadata: answer };
	const { platforms, multiPlatform } = await buildDockerfile(client);
	const metadata = new Map<string, Uint8Array>();
	for (const { id, imageConfig, baseImageConfig } of platforms) {
		const suffix = multiPlatform ? `/${id}` : '';
		metadata.set(metadataKey.config + suffix, encodeImage(imageConfig));
		if (baseImageConfig) metadata.set(metadataKey.baseConfig + suffix, encodeImage(baseImageConfig));
	}
	metadata.set(metadataKey.platforms, Buffer.from(JSON.stringify({ Platforms: platforms.map(({ id, platform }) => ({ ID: id, Platform: platformJson(platform) })) })));
	const epoch = platforms.find((platform) => platform.epoch !== undefined)?.epoch;
	if (epoch !== undefined) metadata.set(metadataKey.epoch, Buffer.from(String(epoch)));
	const refs = new Map(platforms.map(({ id, definition }) => [id, build.reference(definition)]));
	return { result: multiPlatform ? { refs } : { ref: [...refs.values()][0] }, metadata };
}

function platformJson({ os, architecture, variant, osVersion, osFeatures }: Platform): object {
	return {
		architecture,
		os,
		...(osVersion !== undefined && { 'os.version': osVersion }),
		...(osFeatures && { 'os.features': osFeatures }),
		...(variant !== undefined && { variant }),
	};
}
