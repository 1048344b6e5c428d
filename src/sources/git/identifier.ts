// What a git source op asks for.
import { attr, type SourceOp } from '../../llb/index.js';

export interface GitIdentifier {
	/** As git is given it. */
	readonly remote: string;
	/** Branch, tag, full ref or commit; '' for the default branch. */
	readonly ref: string;
	/** Below the repository's root, without slashes at its ends; '' for all of it. */
	readonly subdir: string;
	readonly keepGitDir: boolean;
	readonly checksum: string;
	readonly skipSubmodules: boolean;
	readonly mtime: 'checkout' | 'commit';
	readonly fetchByCommit: boolean;
	readonly authTokenSecret: string;
	readonly authHeaderSecret: string;
	readonly knownSshHosts: string;
	readonly sshSocket: string;
}

/** Throws for what makes no sense or obd does not have. */
export function gitIdentifier(op: SourceOp): GitIdentifier {
	const value = (name: string): string => op.attrs.get(name) ?? '';
	const [, location = '', fragment = ''] = /^git:\/\/([^#]*)(?:#(.*))?$/s.exec(op.identifier) ?? [];
	const [ref = '', subdir = ''] = fragment.split(/:(.*)/s);
	if (ref.startsWith('-')) throw new Error(`invalid git ref ${JSON.stringify(ref)}`);
	for (const name of op.attrs.keys()) {
		if (/^git\.(?:sig\.|bundle$|checkoutbundle$)/.test(name)) throw new Error(`source ${op.identifier}: ${name} is not supported by obd`);
	}
	const checksum = value(attr.gitChecksum);
	if (!/^[a-fA-F0-9]*$/.test(checksum)) throw new Error(`invalid checksum ${checksum} for Git URL, expected hex commit hash`);
	const mtime = value(attr.gitMtime);
	return {
		remote: withTransport(value(attr.gitFullUrl) || location),
		ref,
		subdir: cleanSubdir(subdir),
		keepGitDir: value(attr.gitKeepDir) === 'true',
		checksum,
		skipSubmodules: value(attr.gitSkipSubmodules) === 'true',
		mtime: mtime === 'commit' ? 'commit' : 'checkout',
		fetchByCommit: value(attr.gitFetchByCommit) === 'true',
		authTokenSecret: value(attr.gitAuthTokenSecret),
		authHeaderSecret: value(attr.gitAuthHeaderSecret),
		knownSshHosts: value(attr.gitKnownSshHosts),
		sshSocket: value(attr.gitMountSshSock),
	};
}

/** A remote without a protocol is one of the web; `user@host:path` is ssh. Others git must not be given. */
function withTransport(remote: string): string {
	if (/^(?:https?|ssh|git):\/\//i.test(remote)) return remote;
	const protocol = /^([a-zA-Z0-9]+):\/\//.exec(remote)?.[1];
	if (protocol !== undefined) throw new Error(`${protocol}: invalid protocol`);
	return /^[a-zA-Z0-9\-_]+@[a-zA-Z0-9\-.]+:/.test(remote) ? remote : `https://${remote}`;
}

function cleanSubdir(text: string): string {
	const parts: string[] = [];
	for (const part of text.split('/')) {
		if (part === '..') parts.pop();
		else if (part !== '' && part !== '.') parts.push(part);
	}
	return parts.join('/');
}

/** The content of a checkout of `commit`, as a cache key. */
export function checkoutKey(id: GitIdentifier, commit: string, ref: string): string {
	return [
		commit,
		...(id.keepGitDir ? ['.git', ref === '' ? '' : `#${ref}`] : []),
		id.subdir === '' ? '' : `:${id.subdir}`,
		id.skipSubmodules ? '(skip-submodules)' : '',
		id.mtime === 'commit' ? '(mtime=commit)' : '',
	].join('');
}
