// git:// sources, through the git program as BuildKit does it. The key is the commit with what is done to its
// checkout, so a build where nothing moved asks the remote once and fetches nothing.
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { SourceOp } from '../../llb/index.js';
import type { BuildSession } from '../../session/index.js';
import { redactCredentials } from '../redact.js';
import { directoryContent, scratchDirectory } from '../scratch-directory.js';
import type { PerBuild, Source, SourceContent, SourceContext, SourceIdentity } from '../source.js';
import { checkOut } from './checkout.js';
import { Git, isCommit, type GitOptions } from './cli.js';
import { checkoutKey, gitIdentifier, type GitIdentifier } from './identifier.js';
import { Repository } from './repository.js';
import { pinnedRef, resolveRef, type ResolvedRef } from './resolve.js';

export type { ResolvedRef } from './resolve.js';

export interface GitMeta {
	/** Full ref, or a commit. */
	readonly ref: string;
	/** What it names: a commit or an annotated tag. */
	readonly checksum: string;
	/** The commit behind a tag; '' for a commit. */
	readonly commitChecksum: string;
	readonly tagObject?: Uint8Array;
}

export interface GitSourceOptions {
	/** Bare repositories are kept here between builds. */
	readonly repositoryDir: string;
	/** Checkouts, sockets: files of this process. */
	readonly temporaryDir: string;
	/** Shared by the sources of all builds. */
	readonly resolved: PerBuild<ResolvedRef>;
}

export class GitSource implements Source {
	readonly #id: GitIdentifier;

	constructor(op: SourceOp, private readonly options: GitSourceOptions) {
		this.#id = gitIdentifier(op);
	}

	async identity(context: SourceContext): Promise<SourceIdentity> {
		const { ref, commit, tagged } = await this.#resolve(context);
		const { remote, ref: given, authHeaderSecret, authTokenSecret, sshSocket } = this.#id;
		const url = redactCredentials(remote) + (given === '' ? '' : `#${given}`);
		return { key: `git ${checkoutKey(this.#id, tagged ?? commit, ref)}`, material: { kind: 'git', url, commit, secrets: [authHeaderSecret, authTokenSecret].filter((id) => id !== ''), ssh: sshSocket === '' ? [] : [sshSocket] } };
	}

	async fetch(context: SourceContext): Promise<SourceContent> {
		return this.#fetched(context, async (repository) => {
			const directory = await scratchDirectory(this.options.temporaryDir, 'git-', context.signal);
			await chmod(directory, 0o755);
			return directoryContent(await checkOut(repository, this.#id, directory), context.signal);
		});
	}

	/** What the ref names; with `objects` the commit and the tag themselves, which have to be fetched. */
	async metadata(context: SourceContext, objects: boolean): Promise<GitMeta & { readonly commitObject?: Uint8Array }> {
		const { ref, commit, tagged } = await this.#resolve(context);
		const meta = { ref, checksum: commit, commitChecksum: tagged ?? '' };
		if (!objects) return meta;
		return this.#fetched(context, async ({ git }) => {
			const isTag = (await git.run('cat-file', '-t', commit)).trim() === 'tag';
			const commitChecksum = (await git.run('rev-parse', `${commit}^{commit}`)).trim();
			const commitObject = Buffer.from(await git.run('cat-file', 'commit', commitChecksum));
			if (!isTag) return { ref, checksum: commit, commitChecksum: '', commitObject };
			return { ...meta, commitChecksum, commitObject, tagObject: Buffer.from(await git.run('cat-file', 'tag', commit)) };
		});
	}

	async #resolve(context: SourceContext): Promise<ResolvedRef> {
		const pinned = pinnedRef(this.#id);
		if (pinned) return pinned;
		const { remote, ref, checksum, keepGitDir } = this.#id;
		return this.options.resolved.get(context.session, JSON.stringify([remote, ref, checksum, keepGitDir]), () => (
			this.#withGit(context, (git) => resolveRef(git, this.#id))
		));
	}

	async #fetched<T>(context: SourceContext, use: (repository: Repository) => Promise<T>): Promise<T> {
		const resolved = await this.#resolve(context);
		return this.#withGit(context, async (git) => {
			const repository = await Repository.fetch(git, this.#identifierFor(resolved), resolved, this.options.repositoryDir, context.signal);
			try {
				return await use(repository);
			} finally {
				await repository.release();
			}
		});
	}

	/** A commit that is fetched by its name keeps the full name of the ref it came with. */
	#identifierFor({ ref }: ResolvedRef): GitIdentifier {
		return this.#id.fetchByCommit && !isCommit(this.#id.ref) ? { ...this.#id, ref } : this.#id;
	}

	/** Runs `use` with a git that has what the client lends: credentials, an agent, known hosts. */
	async #withGit<T>(context: SourceContext, use: (git: Git) => Promise<T>): Promise<T> {
		const { session, reporter, signal } = context;
		const release: (() => Promise<void>)[] = [];
		try {
			const options: GitOptions = {
				signal,
				settings: await credentials(this.#id, session),
				...(this.#id.sshSocket !== '' && { sshAuthSock: await this.#agent(session, release) }),
				...(this.#id.knownSshHosts !== '' && { sshKnownHosts: await this.#knownHosts(release) }),
				onOutput: (stream, data) => { reporter.log(stream, data); },
			};
			return await use(new Git(options));
		} finally {
			for (const one of release.reverse()) await one();
		}
	}

	async #agent(session: BuildSession, release: (() => Promise<void>)[]): Promise<string> {
		const dir = path.join(this.options.temporaryDir, 'ssh');
		await mkdir(dir, { recursive: true, mode: 0o711 });
		const socket = await session.sshAgent(this.#id.sshSocket, { dir, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, mode: 0o700 });
		if (!socket) throw new Error(`no SSH key ${JSON.stringify(this.#id.sshSocket)} forwarded from the client`);
		release.push(() => socket.close());
		return socket.path;
	}

	async #knownHosts(release: (() => Promise<void>)[]): Promise<string> {
		const file = path.join(this.options.temporaryDir, `known-hosts-${randomBytes(6).toString('hex')}`);
		release.push(() => rm(file, { force: true }));
		await writeFile(file, this.#id.knownSshHosts, { mode: 0o600, flag: 'wx' });
		return file;
	}
}

/** The setting that logs in to the remote, by the first secret the client has. */
async function credentials({ remote, authHeaderSecret, authTokenSecret }: GitIdentifier, session: BuildSession): Promise<NonNullable<GitOptions['settings']>> {
	if (!/^https?:\/\//i.test(remote)) return [];
	const { host } = new URL(remote);
	const candidates = [
		{ name: authHeaderSecret, id: `${authHeaderSecret}.${host}`, isToken: false },
		{ name: authTokenSecret, id: `${authTokenSecret}.${host}`, isToken: true },
		{ name: authHeaderSecret, id: authHeaderSecret, isToken: false },
		{ name: authTokenSecret, id: authTokenSecret, isToken: true },
	];
	for (const { name, id, isToken } of candidates) {
		const secret = name === '' ? undefined : await session.secret(id);
		if (!secret) continue;
		const text = Buffer.from(secret).toString();
		const header = isToken ? `basic ${Buffer.from(`x-access-token:${text}`).toString('base64')}` : text;
		return [[`http.${scope(remote)}.extraheader`, `Authorization: ${header}`]];
	}
	return [];
}

/** A token is for its repository; of github.com's one serves for the submodules too. */
function scope(remote: string): string {
	return ['https://github.com/', 'https://www.github.com/'].find((prefix) => remote.startsWith(prefix)) ?? remote;
}
