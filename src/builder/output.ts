// What a frontend comes to as exporters take it.
import { metadataKey } from '../../frontend/index.js';
import type { Attestation, BuildOutput } from '../exporters/index.js';
import { AttestationKind, InTotoSubjectKind, type FrontendOutput, type ResultAttestation } from '../gateway/index.js';
import { defaultPlatform, formatPlatform, parseImageConfig, type ImageConfig, type Platform } from '../image/index.js';
import type { Definition } from '../llb/index.js';
import { scratch } from '../snapshot/index.js';

interface PlatformEntry {
	readonly id: string;
	readonly platform: Platform;
}

/** Definitions of the platforms of a result, in the order `solveOutput` gives them. */
export function definitionsOf(output: FrontendOutput): (Definition | undefined)[] {
	const { result } = output;
	return platformsOf(output).map(({ id }) => ('refs' in result ? result.refs.get(id) : result.ref)?.definition);
}

/** Runs what has to run, and gives it to the exporters. */
export async function solveOutput(output: FrontendOutput): Promise<BuildOutput> {
	const { result, metadata, attestations } = output;
	const isMap = 'refs' in result;
	const entries = platformsOf(output);
	const platforms = await Promise.all(entries.map(async ({ id, platform }) => {
		const ref = isMap ? result.refs.get(id) : result.ref;
		const valueOf = (key: string): Uint8Array | undefined => (isMap ? metadata.get(`${key}/${id}`) : undefined) ?? metadata.get(key);
		const base = valueOf(metadataKey.baseConfig);
		const epoch = epochOf(valueOf(metadataKey.epoch));
		return {
			id: id === '' ? formatPlatform(platform) : id,
			platform,
			snapshot: ref ? await ref.snapshot() : scratch,
			config: configOf(metadata, isMap ? id : undefined, platform),
			...(base && base.length > 0 && { baseConfig: parseImageConfig(base, 'base image config') }),
			...(epoch !== undefined && { epoch }),
			...(attestations && { attestations: (attestations.get(id) ?? []).map(attestationOf) }),
		};
	}));
	const name = metadata.get('image.name');
	const annotations = Object.fromEntries([...metadata].filter(([key]) => key.startsWith('annotation')).map(([key, value]) => [key, Buffer.from(value).toString()]));
	return { platforms, multiPlatform: isMap, annotations, ...(name && { imageName: Buffer.from(name).toString() }) };
}

/** A frontend's attestation as exporters take it. */
function attestationOf({ kind, metadata, ref, path, inTotoPredicateType, inTotoSubjects }: ResultAttestation): Attestation {
	if (kind !== AttestationKind.InToto) throw new Error('attestation bundles are not supported by obd');
	const inlineOnly = Buffer.from(metadata.get('inline-only') ?? []).toString();
	return {
		predicateType: inTotoPredicateType,
		path,
		inlineOnly: inlineOnly === 'true',
		subjects: inTotoSubjects.map((subject) => (subject.kind === InTotoSubjectKind.Raw
			? { kind: 'raw', name: subject.name, digests: subject.digest }
			: { kind: 'self', name: subject.name })),
		content: async () => {
			if (!ref) throw new Error('no available content for attestation');
			return ref.readFile(path);
		},
	};
}

/** Seconds since 1970; undefined when the frontend gives none. */
function epochOf(bytes: Uint8Array | undefined): number | undefined {
	const text = bytes ? Buffer.from(bytes).toString() : '';
	if (text === '') return undefined;
	if (!/^[+-]?\d+$/.test(text)) throw new Error(`invalid SOURCE_DATE_EPOCH from frontend: ${JSON.stringify(text)}`);
	return Number(text);
}

function platformsOf({ result, metadata }: FrontendOutput): PlatformEntry[] {
	const listed = metadata.get(metadataKey.platforms);
	const ids = 'refs' in result ? [...result.refs.keys()] : undefined;
	if (!listed) {
		if (ids && ids.length > 1) throw new Error(`unable to export multiple refs, missing platforms mapping`);
		const config = metadata.get(metadataKey.config);
		return [{ id: ids?.[0] ?? '', platform: config ? platformOfConfig(config) : defaultPlatform() }];
	}
	const parsed = JSON.parse(Buffer.from(listed).toString() || '{}') as { readonly Platforms?: readonly { readonly ID: string; readonly Platform: Record<string, unknown> }[] } | null;
	const platforms = parsed?.Platforms ?? [];
	if (platforms.length === 0) throw new Error('invalid empty platforms index for exporter');
	for (const { ID, Platform: platform } of platforms) {
		if (!ID) throw new Error('invalid empty platform key for exporter');
		if (!platform['os'] || !platform['architecture']) throw new Error(`invalid platform value ${JSON.stringify(platform)} for exporter`);
	}
	// A client may ask for one twice.
	const entries = [...new Map(platforms.map(({ ID, Platform: platform }) => [ID, { id: ID, platform: platformOfJson(platform) }])).values()];
	if (ids) {
		if (entries.length !== ids.length) throw new Error(`number of platforms does not match references ${entries.length} ${ids.length}`);
		for (const { id } of entries) if (!ids.includes(id)) throw new Error(`failed to find ref for ID ${id}`);
	} else if (entries.length !== 1) {
		throw new Error(`number of platforms does not match references ${entries.length} 1`);
	}
	return entries;
}

function platformOfConfig(bytes: Uint8Array): Platform {
	const json = JSON.parse(Buffer.from(bytes).toString()) as { readonly os?: unknown; readonly architecture?: unknown } | null;
	if (json === null) throw new Error('invalid null image config for export');
	if (!json.os !== !json.architecture) throw new Error('invalid image config: os and architecture must be specified together');
	const { os, architecture, variant } = parseImageConfig(bytes);
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
