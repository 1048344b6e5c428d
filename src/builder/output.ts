// What a frontend comes to as exporters take it.
import { metadataKey } from '../../frontend/index.js';
import type { BuildOutput } from '../exporters/index.js';
import type { FrontendOutput } from '../gateway/index.js';
import { defaultPlatform, parseImageConfig, type ImageConfig, type Platform } from '../image/index.js';
import { scratch } from '../snapshot/index.js';

interface PlatformEntry {
	readonly id: string;
	readonly platform: Platform;
}

/** Runs what has to run, and gives it to the exporters. */
export async function solveOutput(output: FrontendOutput): Promise<BuildOutput> {
	const { result, metadata } = output;
	const isMap = 'refs' in result;
	const entries = platformsOf(output);
	const platforms = await Promise.all(entries.map(async ({ id, platform }) => {
		const ref = isMap ? result.refs.get(id) : result.ref;
		return {
			platform,
			snapshot: ref ? await ref.snapshot() : scratch,
			config: configOf(metadata, isMap ? id : undefined, platform),
		};
	}));
	return { platforms, multiPlatform: isMap };
}

function platformsOf({ result, metadata }: FrontendOutput): PlatformEntry[] {
	const listed = metadata.get(metadataKey.platforms);
	const ids = 'refs' in result ? [...result.refs.keys()] : undefined;
	if (!listed) {
		if (ids && ids.length > 1) throw new Error(`unable to export multiple refs, missing platforms mapping`);
		const config = metadata.get(metadataKey.config);
		return [{ id: ids?.[0] ?? '', platform: config ? platformOfConfig(parseImageConfig(config)) : defaultPlatform() }];
	}
	const parsed = JSON.parse(Buffer.from(listed).toString()) as { readonly Platforms?: readonly { readonly ID: string; readonly Platform: Record<string, unknown> }[] };
	const entries = (parsed.Platforms ?? []).map(({ ID, Platform: platform }) => ({ id: ID, platform: platformOfJson(platform) }));
	if (ids) {
		if (entries.length !== ids.length) throw new Error(`number of platforms does not match references ${entries.length} ${ids.length}`);
		for (const { id } of entries) if (!ids.includes(id)) throw new Error(`failed to find ref for ID ${id}`);
	} else if (entries.length !== 1) {
		throw new Error(`number of platforms does not match references ${entries.length} 1`);
	}
	return entries;
}

function platformOfConfig({ os, architecture, variant }: ImageConfig): Platform {
	return { os, architecture, ...(variant && { variant }) };
}

/** An OCI platform object. */
function platformOfJson(json: Record<string, unknown>): Platform {
	const text = (key: string): string => (typeof json[key] === 'string' ? json[key] : '');
	return {
		os: text('os'),
		architecture: text('architecture'),
		...(text('variant') !== '' && { variant: text('variant') }),
		...(text('os.version') !== '' && { osVersion: text('os.version') }),
		...(Array.isArray(json['os.features']) && { osFeatures: json['os.features'] as string[] }),
	};
}

/** The config the frontend made; an empty one where it made none. */
function configOf(metadata: ReadonlyMap<string, Uint8Array>, id: string | undefined, platform: Platform): ImageConfig {
	const bytes = metadata.get(id === undefined ? metadataKey.config : `${metadataKey.config}/${id}`) ?? metadata.get(metadataKey.config);
	const { os, architecture, variant } = platform;
	const empty = { architecture, os, ...(variant !== undefined && { variant }), config: { Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'], WorkingDir: '/' }, rootfs: { type: 'layers', diff_ids: [] } };
	return parseImageConfig(bytes ?? Buffer.from(JSON.stringify(empty)));
}
