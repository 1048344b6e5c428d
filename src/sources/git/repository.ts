// Bare repositories of remotes, kept between builds: a fetch brings what is new. One build at a time works on
// one, in this process or another.
import { createHash } from 'node:crypto';
import { mkdir, rm, stat, writeFile, readFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { tryLockFile, type FileLock } from '../../native/system.js';
import { redactCredentials } from '../redact.js';
import { GitError, isCommit, type Git } from './cli.js';
import type { GitIdentifier } from './identifier.js';
import { defaultBranch, type ResolvedRef } from './resolve.js';

const lockRetryMs = 50;

export class Repository {
	private constructor(
		readonly git: Git,
		readonly directory: string,
		/** The ref as it was fetched: of the default branch its name. */
		readonly ref: string,
		private readonly lock: FileLock,
	) {}

	/** Brings what `resolved` names into the remote's repository below `base`, and holds that until `release`. */
	static async fetch(git: Git, id: GitIdentifier, resolved: ResolvedRef, base: string, signal: AbortSignal): Promise<Repository> {
		const directory = path.join(base, createHash('sha256').update(id.remote).digest('hex'));
		await mkdir(directory, { recursive: true, mode: 0o700 });
		const lock = await lockDirectory(directory, signal);
		try {
			const ref = id.ref === '' ? await defaultBranch(git, id.remote) : id.ref;
			const bare = await Repository.#fetched(git, { ...id, ref }, resolved, directory);
			const repository = new Repository(git.with({ gitDir: bare }), bare, ref, lock);
			if (id.checksum !== '') await checkCommit(repository.git, id, id.fetchByCommit ? id.checksum : ref);
			return repository;
		} catch (error) {
			await lock.release();
			throw error;
		}
	}

	/** What the remote has changed in a way git does not follow (a tag that moved) makes the old repository useless. */
	static async #fetched(git: Git, id: GitIdentifier, resolved: ResolvedRef, directory: string): Promise<string> {
		try {
			return await fetchInto(git, id, resolved, directory);
		} catch (error) {
			if (!isStale(error)) throw error;
			await rm(path.join(directory, 'bare'), { recursive: true, force: true });
			return fetchInto(git, id, resolved, directory);
		}
	}

	release(): Promise<void> {
		return this.lock.release();
	}
}

async function lockDirectory(directory: string, signal: AbortSignal): Promise<FileLock> {
	for (;;) {
		signal.throwIfAborted();
		const lock = await tryLockFile(path.join(directory, 'lock'));
		if (lock) return lock;
		await sleep(lockRetryMs, undefined, { signal });
	}
}

/** The repository's directory, made when there is none: a file beside it says that it was made completely. */
async function bareRepository(git: Git, id: GitIdentifier, sha256: boolean, directory: string): Promise<string> {
	const bare = path.join(directory, 'bare');
	const made = path.join(directory, 'remote');
	if (await readFile(made, 'utf8').catch(() => '') === id.remote && await exists(path.join(bare, 'HEAD'))) return bare;
	await rm(bare, { recursive: true, force: true });
	await mkdir(bare);
	const inBare = git.with({ gitDir: bare });
	await inBare.run('-c', 'init.defaultBranch=master', 'init', '--bare', ...(sha256 ? ['--object-format=sha256'] : []));
	await inBare.run('remote', 'add', 'origin', id.remote);
	await writeFile(made, id.remote, { mode: 0o600 });
	return bare;
}

/** Fetches as little as the server allows: one commit without history where it can be named by a ref. */
async function fetchInto(git: Git, id: GitIdentifier, resolved: ResolvedRef, directory: string): Promise<string> {
	const bare = await bareRepository(git, id, resolved.commit.length === 64, directory);
	const inBare = git.with({ gitDir: bare });
	const wanted = id.fetchByCommit && id.checksum !== '' ? id.checksum : id.ref;
	if (isCommit(wanted) && await has(inBare, `${wanted}^{commit}`)) return bare;
	await rm(path.join(bare, 'shallow.lock'), { force: true });
	const target = id.ref.startsWith('refs/tags/') ? id.ref : `tags/${id.ref}`;
	const unshallow = async (): Promise<string[]> => (await exists(path.join(bare, 'shallow')) ? ['--unshallow'] : []);
	const depth = id.fetchByCommit || !isCommit(wanted) ? ['--depth=1', '--no-tags'] : ['--tags', ...await unshallow()];
	const what = isCommit(id.ref) ? [id.ref] : ['--force', '--', `${wanted}:${target}`];
	await remote(id, inBare.run('fetch', ...depth, 'origin', ...what));
	const fetched = (await inBare.run('rev-parse', wanted)).trim();
	if (fetched === resolved.commit) return bare;
	// The ref has moved since it was resolved: what the cache key says counts.
	if (!(await has(inBare, resolved.commit))) {
		await remote(id, inBare.run('fetch', '--tags', ...await unshallow(), 'origin', resolved.commit));
		await inBare.run('reflog', 'expire', '--all', '--expire=now');
		if (!(await has(inBare, resolved.commit))) {
			throw new Error(`fetched ref ${id.ref} does not match expected commit ${resolved.commit} and commit can not be found in the repository`);
		}
	}
	await inBare.run('update-ref', target.startsWith('refs/') ? target : `refs/${target}`, resolved.commit, '--no-deref');
	return bare;
}

async function remote<T>(id: GitIdentifier, work: Promise<T>): Promise<T> {
	return work.catch((error: unknown) => {
		throw new Error(`failed to fetch remote ${redactCredentials(id.remote)}: ${(error as Error).message}`, { cause: error });
	});
}

function isStale(error: unknown): boolean {
	const cause = error instanceof Error ? error.cause : undefined;
	if (!(cause instanceof GitError)) return false;
	const { stderr } = cause;
	return (stderr.includes('rejected') && stderr.includes('(would clobber existing tag)'))
		|| (stderr.includes('some local refs could not be updated;') && /\(unable to update local ref\)|refname conflict/.test(stderr));
}

async function checkCommit(git: Git, id: GitIdentifier, ref: string): Promise<void> {
	const actual = (await git.run('rev-parse', ref)).trim();
	if (actual.startsWith(id.checksum)) return;
	const peeled = await git.run('rev-parse', `${ref}^{}`).then((text) => text.trim(), () => actual);
	if (peeled === actual) throw new Error(`expected checksum to match ${id.checksum}, got ${actual}`);
	if (!peeled.startsWith(id.checksum)) throw new Error(`expected checksum to match ${id.checksum}, got ${actual} or ${peeled}`);
}

async function has(git: Git, object: string): Promise<boolean> {
	return git.run('cat-file', '-e', object).then(() => true, (error: unknown) => {
		if (error instanceof GitError) return false;
		throw error;
	});
}

async function exists(file: string): Promise<boolean> {
	return stat(file).then(() => true, () => false);
}
