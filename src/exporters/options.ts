// Attributes of the image exporters (`--output type=...,KEY=VALUE`), checked at the door: BuildKit's names,
// defaults and texts.
import { formatReference, parseReference, withDefaultTag } from '../image/index.js';
import { parseAnnotations, type Annotations } from './annotations.js';

export type Compression = 'overlaybd' | 'gzip' | 'zstd' | 'uncompressed';

const compressions: readonly string[] = ['overlaybd', 'gzip', 'zstd', 'uncompressed'];

export interface ImageOptions {
	/** As given; `*` is the frontend's. */
	readonly names: readonly string[];
	readonly compression: Compression;
	/** For gzip and zstd; undefined is the codec's default. */
	readonly compressionLevel: number | undefined;
	/** Layers that have another compression already are made again. */
	readonly forceCompression: boolean;
	readonly ociMediaTypes: boolean;
	/** Attestation manifests in the form of OCI artifacts. */
	readonly ociArtifact: boolean;
	/** Attestations that are for images only are exported too. */
	readonly inlineAttestations: boolean;
	readonly push: boolean;
	readonly pushByDigest: boolean;
	readonly nameCanonical: boolean;
	/** Names the image PREFIX@DIGEST as well. */
	readonly danglingPrefix: string;
	/** Only where it has no other name. */
	readonly danglingEmptyOnly: boolean;
	readonly insecure: boolean;
	readonly annotations: Annotations;
	/** Layers that must not be pushed elsewhere stay marked so. */
	readonly preferNondistributable: boolean;
	/** SOURCE_DATE_EPOCH in seconds; null: none, whatever the frontend says. */
	readonly epoch: number | null | undefined;
	readonly rewriteTimestamp: boolean;
	/** A tar (default), or an OCI layout directory. */
	readonly tar: boolean;
	/** What was asked for and has no meaning here, for the log. */
	readonly notes: readonly string[];
}

export type Attributes = Readonly<Record<string, string>>;

/** Options of the image, oci and docker exporters. Throws an error that names the attribute and its value. */
export function imageOptions(type: 'image' | 'oci' | 'docker', attributes: Attributes): ImageOptions {
	// A docker daemon can only load ordinary layers.
	const compression = attributes['compression'] ?? (type === 'docker' ? 'gzip' : 'overlaybd');
	if (!compressions.includes(compression)) throw new Error(`unsupported compression type ${compression}: obd has ${compressions.join(', ')}`);
	if (type === 'docker' && compression === 'overlaybd') throw new Error('type=docker makes an image a docker daemon can load: compression=overlaybd is only for type=image and type=oci');
	const level = attributes['compression-level'];
	if (level !== undefined && !/^[+-]?\d+$/.test(level)) throw new Error(`non-integer value ${level} specified for compression-level`);
	const ociMediaTypes = strictFlag(attributes, 'oci-mediatypes', true);
	const ociArtifact = strictFlag(attributes, 'oci-artifact', ociMediaTypes);
	if (!ociMediaTypes && ociArtifact) throw new Error('exporter option "oci-artifact=true" conflicts with "oci-mediatypes=false"');
	const isImage = type === 'image';
	return {
		names: (attributes['name'] ?? '').split(',').filter((name) => name !== ''),
		compression: compression as Compression,
		compressionLevel: level === undefined ? undefined : Number(level),
		forceCompression: flag(attributes, 'force-compression', false),
		ociMediaTypes,
		ociArtifact,
		inlineAttestations: strictFlag(attributes, 'attestation-inline', isImage),
		push: isImage && flag(attributes, 'push', false),
		pushByDigest: flag(attributes, 'push-by-digest', false),
		nameCanonical: flag(attributes, 'name-canonical', false),
		danglingPrefix: attributes['dangling-name-prefix'] ?? '',
		// As the contract spells it.
		danglingEmptyOnly: flag(attributes, 'danging-name-empty-only', false),
		insecure: flag(attributes, 'registry.insecure', false),
		annotations: parseAnnotations(attributes),
		preferNondistributable: strictFlag(attributes, 'prefer-nondist-layers', false),
		epoch: epochAttribute(attributes),
		rewriteTimestamp: strictFlag(attributes, 'rewrite-timestamp', false),
		tar: isImage || flag(attributes, 'tar', true),
		notes: [
			...(flag(attributes, 'unpack', false) ? ['exporter option "unpack" is ignored: an overlaybd image needs no unpacking'] : []),
			...(attributes['buildinfo'] === undefined && attributes['buildinfo-attrs'] === undefined ? [] : ['exporter option "buildinfo" is ignored: build information has become provenance attestations']),
		],
	};
}

/** Full references of an image's names, for files and stores. */
export function fullNames(names: readonly string[]): string[] {
	return names.map((name) => {
		try {
			return formatReference(withDefaultTag(parseReference(name)));
		} catch (error) {
			throw new Error(`failed to parse ${name}: ${(error as Error).message}`, { cause: error });
		}
	});
}

/** `source-date-epoch`: seconds; empty takes away what the frontend says. */
export function epochAttribute(attributes: Attributes): number | null | undefined {
	const value = attributes['source-date-epoch'];
	if (value === undefined) return undefined;
	if (value === '') return null;
	if (!/^[+-]?\d+$/.test(value)) throw new Error(`invalid source-date-epoch: strconv.ParseInt: parsing ${JSON.stringify(value)}: invalid syntax`);
	return Number(value);
}

/** A boolean attribute; present without a value it is true. */
export function flag(attributes: Attributes, key: string, fallback: boolean): boolean {
	return attributes[key] === '' ? true : strictFlag(attributes, key, fallback);
}

function strictFlag(attributes: Attributes, key: string, fallback: boolean): boolean {
	const value = attributes[key];
	if (value === undefined) return fallback;
	if (['1', 't', 'T', 'true', 'TRUE', 'True'].includes(value)) return true;
	if (['0', 'f', 'F', 'false', 'FALSE', 'False'].includes(value)) return false;
	throw new Error(`non-bool value specified for ${key}: strconv.ParseBool: parsing ${JSON.stringify(value)}: invalid syntax`);
}
