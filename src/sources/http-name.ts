// What a downloaded file is called, as BuildKit names it.

/** The last element of a path, or `download` where that would be no usable name. */
export function safeFileName(text: string): string {
	const name = text.trim().replace(/\/+$/, '').split('/').at(-1) ?? '';
	const isControl = [...name].some((char) => char <= '\u001f' || (char >= '\u007f' && char <= '\u009f'));
	return name === '' || name === '.' || name === '..' || isControl ? 'download' : name;
}

/** The name given, else the one of the Content-Disposition header, else the last element of the URL's path. */
export function downloadName(url: URL, given: string, contentDisposition: string | undefined): string {
	if (given !== '') return safeFileName(given);
	const attached = contentDisposition === undefined ? '' : dispositionFileName(contentDisposition);
	if (attached !== '' && !attached.endsWith('/')) return safeFileName(attached);
	return safeFileName(decoded(url.pathname));
}

/** `filename` of a Content-Disposition (RFC 6266), its extended form first; '' without one. */
function dispositionFileName(header: string): string {
	const parameters = new Map<string, string>();
	for (const [, name = '', quoted, plain] of header.matchAll(/;\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;]+))/g)) {
		parameters.set(name.toLowerCase(), quoted?.replace(/\\(.)/g, '$1') ?? plain ?? '');
	}
	const [, charset = '', , encoded = ''] = /^([^']*)'([^']*)'(.*)$/.exec(parameters.get('filename*') ?? '') ?? [];
	if (['utf-8', 'us-ascii'].includes(charset.toLowerCase())) return decoded(encoded);
	return parameters.get('filename') ?? '';
}

function decoded(text: string): string {
	try {
		return decodeURIComponent(text);
	} catch {
		return text;
	}
}
