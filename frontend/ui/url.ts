// URLs as Go's net/url takes them apart: what it refuses is no URL to BuildKit either.

export interface Url {
	/** In lower case. */
	readonly scheme: string;
	/** With user and port, as written. */
	readonly authority: string;
	/** With port. */
	readonly host: string;
	/** As written, and decoded. */
	readonly rawPath: string;
	readonly path: string;
	/** Without `?`. */
	readonly query: string;
	/** Without `#`, decoded. */
	readonly fragment: string;
}

const pattern = /^([a-zA-Z0-9]+):\/\/([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#(.*))?$/s;

function decode(text: string): string | undefined {
	try {
		return decodeURIComponent(text);
	} catch {
		return undefined;
	}
}

/** undefined when the text is no absolute URL. */
export function splitUrl(text: string): Url | undefined {
	const match = pattern.exec(text);
	if (!match || /[\u0000-\u001f\u007f]/.test(text)) return undefined;
	const [, scheme = '', authority = '', rawPath = '', query = '', rawFragment = ''] = match;
	const host = authority.slice(authority.lastIndexOf('@') + 1);
	const badHost = /[^\w\-.~!$&'()*+,;=:[\]<>"%\u0080-\uffff]/.test(host);
	const badPort = /:[^\]]*[^\d\]]/.test(host.replace(/^\[.*\]/, ''));
	const path = decode(rawPath);
	const fragment = decode(rawFragment);
	if (badHost || badPort || path === undefined || fragment === undefined) return undefined;
	return { scheme: scheme.toLowerCase(), authority, host, rawPath, path, query, fragment };
}
