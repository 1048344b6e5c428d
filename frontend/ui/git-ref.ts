// Git references as contexts and ADD sources: URLs with `#ref:subdir` or with a query.
import type { Constraints, GitOptions, GitRemote, State } from '../../src/llb/index.js';
import { git, joinPath } from '../../src/llb/index.js';
import { parseBool, quote } from '../text/format.js';
import { splitUrl } from './url.js';

export interface GitRef {
	readonly remote: GitRemote;
	readonly ref: string;
	readonly subdir: string;
	readonly checksum: string;
	readonly keepGitDir?: boolean;
	readonly submodules?: boolean;
	readonly mtime?: 'checkout' | 'commit';
	readonly fetchByCommit: boolean;
	/** `github.com/owner/name`: could as well be a path, and is one everywhere but as a context. */
	readonly indistinguishableFromLocal: boolean;
}

const scpPattern = /^([a-zA-Z0-9\-_]+)@([a-zA-Z0-9\-.]+):(.*?)(?:\?(.*?))?(?:#(.*))?$/;

interface Parts {
	readonly remote: GitRemote;
	readonly query: string;
	readonly fragment: string;
}

/** The parts of what can only be a git remote. */
function split(text: string): Parts | undefined {
	if (/^[a-zA-Z0-9]+:\/\//.test(text)) return splitWeb(text);
	const scp = scpPattern.exec(text);
	if (!scp) return undefined;
	const [, user = '', host = '', path = '', query = '', fragment = ''] = scp;
	return { remote: { url: `${user}@${host}:${path}`, host, path, ssh: true }, query, fragment };
}

function splitWeb(text: string): Parts | undefined {
	const url = splitUrl(text);
	if (!url || !['http', 'https', 'ssh', 'git'].includes(url.scheme)) return undefined;
	// A web address is a repository only when it says so.
	if (url.scheme.startsWith('http') && !url.path.endsWith('.git')) return undefined;
	const { scheme, authority, host, rawPath, path, query, fragment } = url;
	return { remote: { url: `${scheme}://${authority}${rawPath}`, host, path, ssh: scheme === 'ssh' }, query, fragment };
}

/**
 * Reads a git reference; undefined when the text is none.
 * @throws Error when it is one, but its query makes no sense.
 */
export function parseGitRef(text: string): GitRef | undefined {
	if (text.startsWith('./') || text.startsWith('../')) return undefined;
	const bare = text.startsWith('github.com/');
	const parts = bare ? splitBare(text) : split(text);
	if (!parts) return undefined;
	const colon = parts.fragment.indexOf(':');
	const ref = colon < 0 ? parts.fragment : parts.fragment.slice(0, colon);
	const subdir = colon < 0 ? '' : joinPath('/', parts.fragment.slice(colon + 1)).slice(1);
	return {
		remote: parts.remote, checksum: '', fetchByCommit: false, indistinguishableFromLocal: bare,
		...applyQuery(parts.query, ref, subdir),
	};
}

/** `github.com/...`, read as if it began with https. */
function splitBare(text: string): Parts | undefined {
	const url = splitUrl(`https://${text}`);
	return url && { remote: { url: `https://${url.authority}${url.rawPath}`, host: url.host, path: url.path, ssh: false }, query: url.query, fragment: url.fragment };
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** What a query says, on top of the fragment. */
function applyQuery(query: string, ref: string, subdir: string): Pick<GitRef, 'ref' | 'subdir'> & Partial<GitRef> {
	const result: Mutable<Pick<GitRef, 'ref' | 'subdir'> & Partial<GitRef>> = { ref, subdir };
	const params = new URLSearchParams(query);
	let tag = '';
	let branch = '';
	const agree = (what: 'ref' | 'subdir', value: string): void => {
		if (result[what] !== '' && result[what] !== value) throw new Error(`${what} conflicts: ${quote(result[what])} vs ${quote(value)}`);
		result[what] = value;
	};
	const bool = (name: string, value: string): boolean => {
		const parsed = value === '' ? true : parseBool(value);
		if (parsed === undefined) throw new Error(`invalid ${name} value: ${quote(value)}`);
		return parsed;
	};
	for (const name of new Set(params.keys())) {
		const values = params.getAll(name);
		const [value = ''] = values;
		if (values.length > 1) throw new Error(`query ${quote(name)} has multiple values`);
		if (value === '' && !['submodules', 'keep-git-dir', 'fetch-by-commit'].includes(name)) throw new Error(`query ${quote(name)} has no value`);
		switch (name) {
			case 'ref': case 'subdir': agree(name, value); break;
			case 'tag': tag = value.startsWith('refs/tags/') ? value : `refs/tags/${value}`; break;
			case 'branch': branch = value.startsWith('refs/heads/') ? value : `refs/heads/${value}`; break;
			case 'checksum': case 'commit': result.checksum = value; break;
			case 'keep-git-dir': result.keepGitDir = bool(name, value); break;
			case 'submodules': result.submodules = bool(name, value); break;
			case 'fetch-by-commit': result.fetchByCommit = bool(name, value); break;
			case 'mtime':
				if (value !== 'checkout' && value !== 'commit') throw new Error(`invalid mtime value: ${quote(value)} (must be "checkout" or "commit")`);
				result.mtime = value;
				break;
			default: throw new Error(`unexpected query ${quote(name)}`);
		}
	}
	if (tag !== '') agree('ref', tag);
	if (branch !== '') {
		if (tag !== '') throw new Error('branch conflicts with tag');
		agree('ref', branch);
	}
	return result;
}

/** The checkout a reference names. */
export function gitState(ref: GitRef, options: GitOptions & Constraints = {}): State {
	return git(ref.remote, {
		...(ref.ref ? { ref: ref.ref } : {}),
		...(ref.subdir ? { subdir: ref.subdir } : {}),
		...(ref.checksum ? { checksum: ref.checksum } : {}),
		...(ref.keepGitDir ? { keepGitDir: true } : {}),
		...(ref.submodules === false ? { skipSubmodules: true } : {}),
		...(ref.mtime ? { mtime: ref.mtime } : {}),
		...(ref.fetchByCommit ? { fetchByCommit: true } : {}),
		...options,
	});
}
