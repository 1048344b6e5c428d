// Image references as distribution/reference reads them: `ubuntu` is `docker.io/library/ubuntu`.

export interface Reference {
	/** Registry host with optional port: `docker.io`, `127.0.0.1:5000`. */
	readonly domain: string;
	/** Repository without the domain: `library/ubuntu`. */
	readonly path: string;
	readonly tag?: string;
	readonly digest?: string;
}

const defaultDomain = 'docker.io';
const officialPrefix = 'library/';

const label = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const domain = `(?:${label}(?:\\.${label})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?`;
const pathComponent = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*';
const remoteName = `${pathComponent}(?:/${pathComponent})*`;
const tag = '[0-9A-Za-z_][0-9A-Za-z_.-]{0,127}';
const digest = '[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}';
const pattern = new RegExp(`^(${domain})/(${remoteName})(?::(${tag}))?(?:@(${digest}))?$`);
const identifier = /^[a-f0-9]{64}$/;
/** Lengths of the hex parts go-digest knows. */
const digestLength: ReadonlyMap<string, number> = new Map([['sha256', 64], ['sha384', 96], ['sha512', 128]]);

function splitDomain(name: string): [domain: string, rest: string] {
	const slash = name.indexOf('/');
	if (slash < 0) return [defaultDomain, officialPrefix + name];
	const first = name.slice(0, slash);
	const rest = name.slice(slash + 1);
	const isDomain = first === 'localhost' || /[.:]/.test(first) || first.toLowerCase() !== first;
	const host = !isDomain || first === 'index.docker.io' ? defaultDomain : first;
	const remote = isDomain ? rest : name;
	return [host, host === defaultDomain && !remote.includes('/') ? officialPrefix + remote : remote];
}

/**
 * Reads a reference as a person writes it.
 * @throws Error with distribution/reference's text when it is none.
 */
export function parseReference(text: string): Reference {
	if (identifier.test(text)) throw new Error(`invalid repository name (${text}), cannot specify 64-byte hexadecimal strings`);
	const [host, rest] = splitDomain(text);
	const remote = rest.split(':', 1)[0] ?? '';
	if (remote.toLowerCase() !== remote) throw new Error(`invalid reference format: repository name (${remote}) must be lowercase`);
	const match = pattern.exec(`${host}/${rest}`);
	if (!match) {
		if (pattern.test(`${host}/${rest}`.toLowerCase())) throw new Error('repository name must be lowercase');
		throw new Error('invalid reference format');
	}
	const path = match[2] ?? '';
	if (path.length > 255) throw new Error('repository name must not be more than 255 characters');
	const pinned = match[4];
	if (pinned !== undefined) checkDigest(pinned);
	return {
		domain: match[1] ?? '',
		path,
		...(match[3] !== undefined ? { tag: match[3] } : {}),
		...(pinned !== undefined ? { digest: pinned } : {}),
	};
}

/** @throws Error with go-digest's text when `text` is no digest. */
export function checkDigest(text: string): void {
	const colon = text.indexOf(':');
	if (colon <= 0 || colon + 1 === text.length) throw new Error('invalid checksum digest format');
	const length = digestLength.get(text.slice(0, colon));
	if (length === undefined) {
		throw new Error(/^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$/.test(text) ? 'unsupported digest algorithm' : 'invalid checksum digest format');
	}
	const hex = text.slice(colon + 1);
	if (hex.length !== length) throw new Error('invalid checksum digest length');
	if (!/^[a-f0-9]+$/.test(hex)) throw new Error('invalid checksum digest format');
}

/** The whole reference: `docker.io/library/ubuntu:22.04@sha256:...`. */
export function formatReference(reference: Reference): string {
	const { domain: host, path, tag: tagName, digest: pinned } = reference;
	return `${host}/${path}${tagName === undefined ? '' : `:${tagName}`}${pinned === undefined ? '' : `@${pinned}`}`;
}

/** The same with tag `latest` when it names neither tag nor digest. */
export function withDefaultTag(reference: Reference): Reference {
	return reference.tag === undefined && reference.digest === undefined ? { ...reference, tag: 'latest' } : reference;
}

/** As people write it: without `docker.io/` and `library/`. */
export function familiarReference(reference: Reference): string {
	const full = formatReference(reference);
	if (reference.domain !== defaultDomain) return full;
	const short = full.slice(defaultDomain.length + 1);
	const official = reference.path.startsWith(officialPrefix) && !reference.path.slice(officialPrefix.length).includes('/');
	return official ? short.slice(officialPrefix.length) : short;
}
