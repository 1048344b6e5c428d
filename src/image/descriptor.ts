// Descriptors: what and how big a piece of content is, and its digest (OCI image spec, "descriptor.md").
import { validateDigest } from './digest.js';
import {
	asObject, goMap, omitEmpty, optionalString, optionalStringMap, optionalStrings, ordered, requiredString,
	type JsonRecord, type OrderedObject,
} from './json.js';
import type { Platform } from './platform.js';

export interface Descriptor {
	readonly mediaType: string;
	readonly digest: string;
	/** Bytes. */
	readonly size: number;
	readonly urls?: readonly string[];
	readonly annotations?: Readonly<Record<string, string>>;
	/** The content itself, base64. */
	readonly data?: string;
	/** Only on descriptors of manifests. */
	readonly platform?: Platform;
	readonly artifactType?: string;
}

/** Checks and takes over a descriptor; `what` names it in errors. Unknown members are dropped. */
export function parseDescriptor(value: unknown, what: string): Descriptor {
	const object = asObject(value, what);
	const digest = requiredString(object, 'digest', what);
	try {
		validateDigest(digest);
	} catch (error) {
		throw new Error(`${what}: digest ${JSON.stringify(digest)}: ${(error as Error).message}`);
	}
	const { size } = object;
	if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
		throw new Error(`${what}: size must be a number of bytes, not ${JSON.stringify(size)}`);
	}
	const urls = optionalStrings(object, 'urls', what);
	const annotations = optionalStringMap(object, 'annotations', what);
	const data = optionalString(object, 'data', what);
	const artifactType = optionalString(object, 'artifactType', what);
	return {
		mediaType: optionalString(object, 'mediaType', what) ?? '',
		digest,
		size,
		...(urls !== undefined && { urls }),
		...(annotations !== undefined && { annotations }),
		...(data !== undefined && { data }),
		...(object['platform'] != null && { platform: parsePlatformObject(asObject(object['platform'], `${what}: platform`), what) }),
		...(artifactType !== undefined && { artifactType }),
	};
}

/** The platform members of a descriptor or an image config. */
export function parsePlatformObject(object: JsonRecord, what: string): Platform {
	const variant = omitEmpty(optionalString(object, 'variant', what));
	const osVersion = omitEmpty(optionalString(object, 'os.version', what));
	const osFeatures = omitEmpty(optionalStrings(object, 'os.features', what));
	return {
		os: optionalString(object, 'os', what) ?? '',
		architecture: optionalString(object, 'architecture', what) ?? '',
		...(variant !== undefined && { variant }),
		...(osVersion !== undefined && { osVersion }),
		...(osFeatures !== undefined && { osFeatures }),
	};
}

/** A descriptor's members in Go's order. */
export function descriptorJson(descriptor: Descriptor): OrderedObject {
	const { platform } = descriptor;
	return ordered([
		['mediaType', descriptor.mediaType],
		['digest', descriptor.digest],
		['size', descriptor.size],
		['urls', omitEmpty(descriptor.urls)],
		['annotations', goMap(descriptor.annotations)],
		['data', omitEmpty(descriptor.data)],
		['platform', platform === undefined ? undefined : platformJson(platform)],
		['artifactType', omitEmpty(descriptor.artifactType)],
	]);
}

function platformJson(platform: Platform): OrderedObject {
	return ordered([
		['architecture', platform.architecture],
		['os', platform.os],
		['os.version', omitEmpty(platform.osVersion)],
		['os.features', omitEmpty(platform.osFeatures)],
		['variant', omitEmpty(platform.variant)],
	]);
}
