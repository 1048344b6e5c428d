// Image references, with the grammar and the errors of Docker's "reference" package:
// `[domain/]path[:tag][@digest]`, completed with docker.io, library/ and latest.
import { validateDigest } from './digest.js';

/** A normalized reference: `domain` is always there (`docker.io` by default), `path` has its `library/`. */
export interface ImageReference {
	readonly domain: string;
	readonly path: string;
	readonly tag?: string;
	readonly digest?: string;
}

const defaultDomain = 'docker.io';
const legacyDomain = 'index.docker.io';
const officialPrefix = 'library/';
const maxPathLength = 255;
/** No valid reference is longer; keeps the expressions away from megabytes of hostile text. */
const maxLength = 4096;

const domainComponent = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const domainPattern = `(?:${domainComponent}(?:\\.${domainComponent})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?`;
const pathComponent = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*';
const pathPattern = `${pathComponent}(?:/${pathComponent})*`;
const tagPattern = '[\\w][\\w.-]{0,127}';
const digestPattern = '[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}';

const referenceExpression = new RegExp(`^((?:${domainPattern}/)?${pathPattern})(?::(${tagPattern}))?(?:@(${digestPattern}))?$`);
const nameExpression = new RegExp(`^(?:(${domainPattern})/)?(${pathPattern})$`);
const tagExpression = new RegExp(`^${tagPattern}$`);
const identifierExpression = /^[a-f0-9]{64}$/;

/**
 * Parses a reference as a user writes it and completes its name (not its tag).
 * Throws with Docker's text: `invalid reference format`, `invalid reference format: repository name (X) must
 * be lowercase`, ...
 */
export function parseReference(text: string): ImageReference {
	if (identifierExpression.test(text)) {
		throw new Error(`invalid repository name (${text}), cannot specify 64-byte hexadecimal strings`);
	}
	if (text.length > maxLength) throw new Error('invalid reference format');
	const { domain, remainder } = splitDomain(text);
	const colon = remainder.indexOf(':');
	const remote = colon === -1 ? remainder : remainder.slice(0, colon);
	if (remote.toLowerCase() !== remote) {
		throw new Error(`invalid reference format: repository name (${remote}) must be lowercase`);
	}
	return parseComplete(`${domain}/${remainder}`);
}

function parseComplete(text: string): ImageReference {
	const match = referenceExpression.exec(text);
	if (match === null) {
		throw new Error(referenceExpression.test(text.toLowerCase()) ? 'repository name must be lowercase' : 'invalid reference format');
	}
	const [, name = '', tag, digest] = match;
	const [, domain = '', path = ''] = nameExpression.exec(name) ?? [];
	if (path.length > maxPathLength) {
		throw new Error(`repository name must not be more than ${maxPathLength} characters`);
	}
	if (digest !== undefined) validateDigest(digest);
	return { domain, path, ...(tag !== undefined && { tag }), ...(digest !== undefined && { digest }) };
}

function splitDomain(name: string): { domain: string; remainder: string } {
	const slash = name.indexOf('/');
	if (slash === -1) return { domain: defaultDomain, remainder: officialPrefix + name };
	const first = name.slice(0, slash);
	const rest = name.slice(slash + 1);
	let domain = defaultDomain;
	let remainder = name;
	if (first === legacyDomain) {
		remainder = rest;
	} else if (first === 'localhost' || /[.:]/.test(first) || first.toLowerCase() !== first) {
		domain = first;
		remainder = rest;
	}
	if (domain === defaultDomain && !remainder.includes('/')) remainder = officialPrefix + remainder;
	return { domain, remainder };
}

/** Adds `latest` to a reference with neither tag nor digest. */
export function withDefaultTag(ref: ImageReference): ImageReference {
	return ref.tag === undefined && ref.digest === undefined ? { ...ref, tag: 'latest' } : ref;
}

/** The same repository with another tag. Throws `invalid tag format`. */
export function withTag(ref: ImageReference, tag: string): ImageReference {
	if (!tagExpression.test(tag)) throw new Error('invalid tag format');
	return { ...ref, tag };
}

/** The same reference pinned to a digest. */
export function withDigest(ref: ImageReference, digest: string): ImageReference {
	validateDigest(digest);
	return { ...ref, digest };
}

/** `docker.io/library/alpine`: the repository, without tag and digest. */
export function repositoryName(ref: ImageReference): string {
	return `${ref.domain}/${ref.path}`;
}

/** The whole reference in its normalized form: `docker.io/library/alpine:3@sha256:...`. */
export function formatReference(ref: ImageReference): string {
	return repositoryName(ref) + suffix(ref);
}

/** The short form people use: `alpine:3`. */
export function familiarReference(ref: ImageReference): string {
	if (ref.domain !== defaultDomain) return formatReference(ref);
	const short = ref.path.startsWith(officialPrefix) && !ref.path.slice(officialPrefix.length).includes('/');
	return (short ? ref.path.slice(officialPrefix.length) : ref.path) + suffix(ref);
}

function suffix(ref: ImageReference): string {
	return (ref.tag === undefined ? '' : `:${ref.tag}`) + (ref.digest === undefined ? '' : `@${ref.digest}`);
}
