// Which commit a git source means, without bringing it.
import { isCommit, type Git } from './cli.js';
import type { GitIdentifier } from './identifier.js';
import { redactCredentials } from '../redact.js';

export interface ResolvedRef {
	/** Full ref, or a commit. */
	readonly ref: string;
	/** What the ref names: a commit, or an annotated tag. */
	readonly commit: string;
	/** The commit an annotated tag leads to, where that may be used instead. */
	readonly tagged?: string;
}

/** What can be said without the remote: a commit by name. */
export function pinnedRef(id: GitIdentifier): ResolvedRef | undefined {
	if (isCommit(id.ref)) {
		if (id.checksum !== '' && !id.ref.startsWith(id.checksum)) throw new Error(`expected checksum to match ${id.checksum}, got ${id.ref}`);
		return { ref: id.ref, commit: id.ref };
	}
	if (!id.fetchByCommit) return undefined;
	if (id.checksum === '') throw new Error('fetch-by-commit requires a checksum or a commit SHA ref');
	if (!isCommit(id.checksum)) throw new Error(`fetch-by-commit requires a full commit SHA checksum, got ${JSON.stringify(id.checksum)}`);
	const full = id.ref === '' || id.ref.startsWith('refs/') ? id.ref : `refs/heads/${id.ref}`;
	return { ref: full || id.checksum, commit: id.checksum };
}

/** Asks the remote what the ref names. A branch goes before a tag of the same name. */
export async function resolveRef(git: Git, id: GitIdentifier): Promise<ResolvedRef> {
	const ref = id.ref === '' ? await defaultBranch(git, id.remote) : id.ref;
	const listing = await git.run('ls-remote', '--', id.remote, ref, `${ref}^{}`).catch((error: unknown) => {
		throw new Error(`failed to fetch remote ${redactCredentials(id.remote)}: ${(error as Error).message}`, { cause: error });
	});
	const refs = new Map(listing.split('\n').map((line) => {
		const [commit = '', name = ''] = line.split('\t');
		return [name, commit] as const;
	}));
	const tag = `refs/tags/${ref.replace(/^refs\/tags\//, '')}`;
	const names = [`refs/${ref.replace(/^refs\//, '')}`, `refs/heads/${ref.replace(/^refs\/heads\//, '')}`, tag];
	const name = names.find((candidate) => refs.has(candidate));
	const commit = name === undefined ? undefined : refs.get(name);
	if (name === undefined || commit === undefined) throw new Error(`repository does not contain ref ${ref}, output: ${JSON.stringify(listing)}`);
	if (!isCommit(commit)) throw new Error(`invalid commit sha ${JSON.stringify(commit)}`);
	const peeled = name === tag ? refs.get(`${tag}^{}`) : undefined;
	if (id.checksum !== '' && !commit.startsWith(id.checksum) && !(peeled ?? '').startsWith(id.checksum)) {
		throw new Error(`expected checksum to match ${id.checksum}, got ${peeled === undefined ? commit : `${commit} or ${peeled}`}`);
	}
	return { ref: name, commit, ...(peeled !== undefined && !id.keepGitDir && { tagged: peeled }) };
}

/** The branch the remote's HEAD is. */
export async function defaultBranch(git: Git, remote: string): Promise<string> {
	const shown = redactCredentials(remote);
	const listing = await git.run('ls-remote', '--symref', remote, 'HEAD').catch((error: unknown) => {
		throw new Error(`error fetching default branch for repository ${shown}: ${(error as Error).message}`, { cause: error });
	});
	const [, branch] = /refs\/heads\/(\S+)/.exec(listing) ?? [];
	if (branch === undefined) throw new Error(`could not find default branch for repository: ${shown}`);
	if (branch.startsWith('-')) throw new Error(`invalid git ref ${JSON.stringify(branch)}`);
	return branch;
}
