// Attributes of `--cache-to` and `--cache-from`, checked before anything is built.
import { formatReference, isDigest, parseReference, withDefaultTag } from '../image/index.js';

/** One `--cache-to` or `--cache-from`. */
export interface CacheRequest {
	readonly type: string;
	readonly attributes: Readonly<Record<string, string>>;
}

export interface CacheExport {
	readonly type: 'registry' | 'local' | 'inline';
	/** `registry`: the reference; `local`: the content store's directory, as its client names it. */
	readonly target: string;
	/** `max`: every step; `min`: those of the result's layers. */
	readonly mode: 'min' | 'max';
	readonly imageManifest: boolean;
	readonly ociMediaTypes: boolean;
	readonly insecure: boolean;
	readonly ignoreError: boolean;
	/** For the client: what of its attributes has no effect. */
	readonly note?: string;
}

export type CacheImport =
	| { readonly type: 'registry'; readonly reference: string; readonly insecure: boolean }
	| { readonly type: 'local'; readonly store: string; readonly digest: string };

/** BuildKit's, and our own. */
const compressions: ReadonlySet<string> = new Set(['overlaybd', 'gzip', 'zstd', 'estargz', 'uncompressed']);
const others: ReadonlySet<string> = new Set(['gha', 's3', 'azblob']);

/** Throws an error that names the attribute. */
export function cacheExport({ type, attributes }: CacheRequest): CacheExport {
	if (type !== 'registry' && type !== 'local' && type !== 'inline') throw unknown('exporter', type);
	const mode = attributes['mode'] ?? 'min';
	if (mode !== 'min' && mode !== 'max') throw new Error(`invalid cache export mode ${JSON.stringify(mode)}: use min or max`);
	const compression = attributes['compression'] ?? 'overlaybd';
	if (!compressions.has(compression)) throw new Error(`unsupported layer compression type: ${JSON.stringify(compression)}`);
	const ociMediaTypes = flag(attributes, 'oci-mediatypes', true);
	const imageManifest = flag(attributes, 'image-manifest', ociMediaTypes);
	if (imageManifest && !ociMediaTypes) throw new Error('invalid configuration for remote cache, OCI mediatypes are required for image-manifest cache format');
	if (type === 'local' && !attributes['dest']) throw new Error('local cache exporter requires dest');
	return {
		type,
		target: type === 'registry' ? reference(attributes['ref'], 'exporter') : attributes['dest'] ?? '',
		mode,
		imageManifest,
		ociMediaTypes,
		insecure: flag(attributes, 'registry.insecure', false),
		ignoreError: flag(attributes, 'ignore-error', false),
		...(compression !== 'overlaybd' && { note: `compression=${compression} makes no difference: a cache of obd holds block layers, which are compressed as they are` }),
	};
}

/** Throws an error that names the attribute. */
export function cacheImport({ type, attributes }: CacheRequest): CacheImport {
	switch (type) {
		case 'registry':
			return { type, reference: reference(attributes['ref'], 'importer'), insecure: flag(attributes, 'registry.insecure', false) };
		case 'local': {
			const { digest = '', src = '' } = attributes;
			if (digest === '') throw new Error('local cache importer requires explicit digest');
			if (!isDigest(digest)) throw new Error(`local cache importer: ${JSON.stringify(digest)} is no digest`);
			if (src === '') throw new Error('local cache importer requires src');
			return { type, store: src, digest };
		}
		default: throw unknown('importer', type);
	}
}

function unknown(what: string, type: string): Error {
	return new Error(others.has(type) ? `cache ${what} ${JSON.stringify(type)} is not supported by obd: use registry, local or inline` : `unknown cache ${what}: ${JSON.stringify(type)}`);
}

function reference(text: string | undefined, what: string): string {
	if (!text) throw new Error(`registry cache ${what} requires ref`);
	return formatReference(withDefaultTag(parseReference(text)));
}

function flag(attributes: CacheRequest['attributes'], key: string, fallback: boolean): boolean {
	const value = attributes[key];
	if (value === undefined) return fallback;
	if (['1', 't', 'T', 'true', 'TRUE', 'True'].includes(value)) return true;
	if (['0', 'f', 'F', 'false', 'FALSE', 'False'].includes(value)) return false;
	throw new Error(`failed to parse ${key}: strconv.ParseBool: parsing ${JSON.stringify(value)}: invalid syntax`);
}
