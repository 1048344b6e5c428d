// Manifests and indexes, OCI and Docker schema 2: read from bytes, written as BuildKit's exporter does.
import { descriptorJson, parseDescriptor, type Descriptor } from './descriptor.js';
import { digestOf } from './digest.js';
import { encodeJson, goMap, omitEmpty, optionalList, optionalString, optionalStringMap, ordered, parseObject, type JsonRecord } from './json.js';
import { isIndexType, isManifestType, mediaTypes } from './media-types.js';

export interface Manifest {
	readonly mediaType: string;
	readonly artifactType?: string;
	readonly config: Descriptor;
	/** Bottom first. */
	readonly layers: readonly Descriptor[];
	readonly subject?: Descriptor;
	readonly annotations?: Readonly<Record<string, string>>;
}

export interface Index {
	readonly mediaType: string;
	readonly artifactType?: string;
	readonly manifests: readonly Descriptor[];
	readonly subject?: Descriptor;
	readonly annotations?: Readonly<Record<string, string>>;
}

/** Bytes ready to be stored or pushed, with the descriptor that names them. */
export interface Document {
	readonly descriptor: Descriptor;
	readonly bytes: Uint8Array;
}

/** No registry we know takes more; a bigger one is refused before it is read (containerd's limit). */
export const maxManifestSize = 4 * 1024 * 1024;

export function parseManifest(bytes: Uint8Array, what = 'image manifest'): Manifest {
	const object = parseObject(bytes, what);
	if (object['layers'] === undefined && object['manifests'] !== undefined) throw new Error(`${what} is an index, not a manifest`);
	return {
		mediaType: optionalString(object, 'mediaType', what) ?? mediaTypes.ociManifest,
		config: parseDescriptor(object['config'], `${what}: config`),
		layers: (optionalList(object, 'layers', what) ?? []).map((layer, i) => parseDescriptor(layer, `${what}: layer ${i}`)),
		...parseCommon(object, what),
	};
}

export function parseIndex(bytes: Uint8Array, what = 'image index'): Index {
	const object = parseObject(bytes, what);
	if (object['manifests'] === undefined && object['layers'] !== undefined) throw new Error(`${what} is a manifest, not an index`);
	return {
		mediaType: optionalString(object, 'mediaType', what) ?? mediaTypes.ociIndex,
		manifests: (optionalList(object, 'manifests', what) ?? []).map((manifest, i) => parseDescriptor(manifest, `${what}: manifest ${i}`)),
		...parseCommon(object, what),
	};
}

function parseCommon(object: JsonRecord, what: string): Pick<Manifest, 'artifactType' | 'subject' | 'annotations'> {
	const artifactType = optionalString(object, 'artifactType', what);
	const annotations = optionalStringMap(object, 'annotations', what);
	return {
		...(artifactType !== undefined && { artifactType }),
		...(object['subject'] != null && { subject: parseDescriptor(object['subject'], `${what}: subject`) }),
		...(annotations !== undefined && { annotations }),
	};
}

/**
 * The media type of a manifest or index, from its bytes when nobody says it (a layout, a lax registry).
 * Undefined when it is neither.
 */
export function detectMediaType(bytes: Uint8Array): string | undefined {
	let object: JsonRecord;
	try {
		object = parseObject(bytes, 'manifest');
	} catch {
		return undefined;
	}
	const declared = object['mediaType'];
	if (typeof declared === 'string' && (isManifestType(declared) || isIndexType(declared))) return declared;
	if (declared !== undefined && declared !== '') return undefined;
	if (Array.isArray(object['manifests'])) return mediaTypes.ociIndex;
	if (typeof object['config'] === 'object' && object['config'] !== null) return mediaTypes.ociManifest;
	return object['schemaVersion'] === 1 ? mediaTypes.dockerManifestV1 : undefined;
}

/** The manifest as BuildKit writes it: two-space indent, Go's field order. No layers is an empty list. */
export function encodeManifest(manifest: Manifest): Document {
	return document(manifest.mediaType, encodeJson(ordered([
		['schemaVersion', 2],
		['mediaType', omitEmpty(manifest.mediaType)],
		['artifactType', omitEmpty(manifest.artifactType)],
		['config', descriptorJson(manifest.config)],
		['layers', manifest.layers.map(descriptorJson)],
		['subject', manifest.subject === undefined ? undefined : descriptorJson(manifest.subject)],
		['annotations', goMap(manifest.annotations)],
	]), '  '));
}

/** As `encodeManifest`, for an index. */
export function encodeIndex(index: Index): Document {
	return document(index.mediaType, encodeJson(ordered([
		['schemaVersion', 2],
		['mediaType', omitEmpty(index.mediaType)],
		['artifactType', omitEmpty(index.artifactType)],
		['manifests', index.manifests.map(descriptorJson)],
		['subject', index.subject === undefined ? undefined : descriptorJson(index.subject)],
		['annotations', goMap(index.annotations)],
	]), '  '));
}

/** Bytes with their descriptor. */
export function document(mediaType: string, bytes: Uint8Array): Document {
	return { descriptor: { mediaType, digest: digestOf(bytes), size: bytes.length }, bytes };
}
