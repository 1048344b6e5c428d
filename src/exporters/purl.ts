// Package URLs of images, as attestations name them (github.com/package-url/purl-spec).
import { familiarReference, formatPlatform, normalizePlatform, parseReference, type Platform } from '../image/index.js';

/** `pkg:docker/NAME@TAG?digest=...&platform=...`. `type`: `docker`, or `oci` for an image of the client's. */
export function imagePurl(type: 'docker' | 'oci', reference: string, platform: Platform | undefined): string {
	const parsed = parseReference(reference);
	const { domain, path, digest } = parsed;
	const tag = parsed.tag ?? (digest === undefined ? 'latest' : undefined);
	const name = familiarReference({ domain, path });
	const qualifiers = [
		...(digest === undefined ? [] : [`digest=${escape(digest)}`]),
		...(platform === undefined ? [] : [`platform=${escape(formatPlatform(normalizePlatform(platform)))}`]),
	];
	return `pkg:${type}/${name.split('/').map(escapePath).join('/')}${tag === undefined ? '' : `@${escapePath(tag)}`}${qualifiers.length > 0 ? `?${qualifiers.join('&')}` : ''}`;
}

/** A query value, as Go's url.Values writes it. */
function escape(text: string): string {
	return encodeURIComponent(text).replaceAll('%20', '+').replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** A segment of the path. */
function escapePath(text: string): string {
	return encodeURIComponent(text);
}
