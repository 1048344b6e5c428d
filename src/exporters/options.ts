// Attributes of an exporter (`--output type=...,KEY=VALUE`), checked at the door.
import { parseReference, withDefaultTag, formatReference } from '../image/index.js';

export type Compression = 'overlaybd' | 'gzip' | 'zstd' | 'uncompressed';

const compressions: readonly string[] = ['overlaybd', 'gzip', 'zstd', 'uncompressed'];

export interface ImageOptions {
	/** Full references. */
	readonly names: readonly string[];
	readonly compression: Compression;
	/** For gzip and zstd; undefined is the codec's default. */
	readonly compressionLevel: number | undefined;
	/** Layers that have another compression already are made again. */
	readonly forceCompression: boolean;
	readonly ociMediaTypes: boolean;
	readonly push: boolean;
	readonly pushByDigest: boolean;
	readonly nameCanonical: boolean;
	readonly insecure: boolean;
	readonly annotations: Annotations;
	/** A tar (default), or an OCI layout directory. */
	readonly tar: boolean;
}

/** Annotations by what they go on. */
export interface Annotations {
	readonly manifest: Readonly<Record<string, string>>;
	readonly manifestDescriptor: Readonly<Record<string, string>>;
	readonly index: Readonly<Record<string, string>>;
}

type Attributes = Readonly<Record<string, string>>;

/** Options of the image, oci and docker exporters. Throws an error that names the attribute and its value. */
export function imageOptions(type: 'image' | 'oci' | 'docker', attributes: Attributes): ImageOptions {
	// A docker daemon can only load ordinary layers.
	const compression = attributes['compression'] ?? (type === 'docker' ? 'gzip' : 'overlaybd');
	if (!compressions.includes(compression)) throw new Error(`unsupported compression type: ${compression}: use ${compressions.join(', ')}`);
	if (type === 'docker' && compression === 'overlaybd') throw new Error('type=docker makes an image a docker daemon can load: compression=overlaybd is only for type=image and type=oci');
	const level = attributes['compression-level'];
	if (level !== undefined && !/^-?\d+$/.test(level)) throw new Error(`non-integer value ${level} specified for compression-level`);
	return {
		names: names(attributes['name']),
		compression: compression as Compression,
		compressionLevel: level === undefined ? undefined : Number(level),
		forceCompression: flag(attributes, 'force-compression', false),
		ociMediaTypes: flag(attributes, 'oci-mediatypes', type !== 'docker'),
		push: flag(attributes, 'push', false),
		pushByDigest: flag(attributes, 'push-by-digest', false),
		nameCanonical: flag(attributes, 'name-canonical', false),
		insecure: flag(attributes, 'registry.insecure', false),
		annotations: annotations(attributes),
		tar: flag(attributes, 'tar', true),
	};
}

/** A boolean attribute; present without a value it is true. */
export function flag(attributes: Attributes, key: string, fallback: boolean): boolean {
	const value = attributes[key];
	if (value === undefined) return fallback;
	if (['', '1', 't', 'T', 'true', 'TRUE', 'True'].includes(value)) return true;
	if (['0', 'f', 'F', 'false', 'FALSE', 'False'].includes(value)) return false;
	throw new Error(`non-bool value specified for ${key}: ${value}`);
}

function names(list: string | undefined): readonly string[] {
	if (list === undefined || list === '') return [];
	return list.split(',').map((name) => formatReference(withDefaultTag(parseReference(name))));
}

function annotations(attributes: Attributes): Annotations {
	const result = { manifest: {} as Record<string, string>, manifestDescriptor: {} as Record<string, string>, index: {} as Record<string, string> };
	for (const [key, value] of Object.entries(attributes)) {
		const match = /^annotation(?:-(manifest|manifest-descriptor|index|index-descriptor))?(?:\[[^\]]*\])?\.(.+)$/.exec(key);
		if (!match?.[2]) continue;
		const target = match[1] === 'manifest-descriptor' ? result.manifestDescriptor : match[1]?.startsWith('index') ? result.index : result.manifest;
		target[match[2]] = value;
	}
	return result;
}
