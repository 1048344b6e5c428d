// A checkout of a fetched repository in a directory of our own.
import { randomBytes } from 'node:crypto';
import { lstat, lutimes, readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { redactCredentials } from '../redact.js';
import { isCommit } from './cli.js';
import type { GitIdentifier } from './identifier.js';
import type { Repository } from './repository.js';

/** Checks out into `directory` (empty) and returns where the wanted files are: there, or in the subdirectory. */
export async function checkOut(repository: Repository, id: GitIdentifier, directory: string): Promise<string> {
	const { ref } = repository;
	const commit = id.fetchByCommit && id.checksum !== '' ? id.checksum : ref;
	const keepsGitDir = id.keepGitDir && id.subdir === '';
	const gitDir = keepsGitDir ? path.join(directory, '.git') : repository.directory;
	if (keepsGitDir) await cloneInto(repository, id, commit, directory);
	else {
		await wrapped(`failed to checkout remote ${redactCredentials(id.remote)}`,
			repository.git.with({ workTree: directory }).run('checkout', '--no-overlay', commit, '--', '.'));
	}
	const git = repository.git.with({ workTree: directory, gitDir });
	if (!id.skipSubmodules) {
		await wrapped(`failed to update submodules for ${redactCredentials(id.remote)}`, git.run('submodule', 'update', '--init', '--recursive', '--depth=1'));
	}
	const root = await subdirectory(directory, id.subdir);
	if (id.mtime === 'commit') {
		const seconds = await wrapped(`failed to get commit time for ${redactCredentials(id.remote)}`, git.run('log', '-1', '--format=%ct', `${commit}^{commit}`));
		await setTimes(root, Number(seconds.trim()));
	}
	return root;
}

/** A repository of its own with the one commit, as `.git` of the checkout. */
async function cloneInto(repository: Repository, id: GitIdentifier, commit: string, directory: string): Promise<void> {
	const { git: bare, ref } = repository;
	const gitDir = path.join(directory, '.git');
	const git = bare.with({ workTree: directory, gitDir });
	const shown = redactCredentials(id.remote);
	const sha256 = (await bare.run('rev-parse', '--show-object-format')).trim() === 'sha256';
	await git.run('-c', 'init.defaultBranch=master', 'init', ...(sha256 ? ['--object-format=sha256'] : []));
	// By URL, so that git does not take shortcuts through the file system.
	await git.run('remote', 'add', 'origin', `file://${repository.directory}`);
	await git.run('fetch', '-u', '--depth=1', '--', 'origin', await refspec(repository, id, commit));
	await wrapped(`failed to checkout remote ${shown}`, git.run('checkout', 'FETCH_HEAD'));
	await wrapped(`failed to set remote origin to ${shown}`, git.run('remote', 'set-url', 'origin', shown));
	await wrapped(`failed to expire reflog for remote ${shown}`, git.run('reflog', 'expire', '--all', '--expire=now'));
	await rm(path.join(gitDir, 'FETCH_HEAD'), { force: true });

	async function refspec(from: Repository, wanted: GitIdentifier, object: string): Promise<string> {
		const type = (await from.git.run('cat-file', '-t', object)).trim();
		if (type === 'tag') return `${ref}:${ref.startsWith('refs/tags/') ? ref : `refs/tags/${ref}`}`;
		if (wanted.fetchByCommit && ref !== object) return `${object}:${ref}`;
		if (!isCommit(ref)) return `${ref}:${ref}`;
		const name = `refs/buildkit/${randomBytes(12).toString('hex')}`;
		await from.git.run('update-ref', name, ref);
		return name;
	}
}

/** A directory of the checkout. No part of the way may be a symlink, which could lead anywhere. */
async function subdirectory(root: string, subdir: string): Promise<string> {
	let current = '';
	for (const part of subdir === '' ? [] : subdir.split('/')) {
		current = path.join(current, part);
		const stats = await lstat(path.join(root, current)).catch((error: NodeJS.ErrnoException) => {
			const reason = error.code === 'ENOENT' ? 'no such file or directory' : error.message;
			throw new Error(`invalid subdir ${subdir}: failed to lstat ${JSON.stringify(current)}: statat ${current}: ${reason}`, { cause: error });
		});
		if (!stats.isDirectory()) throw new Error(`invalid subdir ${subdir}: git subpath ${JSON.stringify(subdir)} contains non-directory ${JSON.stringify(current)}`);
	}
	return path.join(root, current);
}

/** Sets all modification times, children before their directory. */
async function setTimes(directory: string, seconds: number): Promise<void> {
	for (const entry of await readdir(directory, { withFileTypes: true })) {
		const file = path.join(directory, entry.name);
		if (entry.isDirectory()) await setTimes(file, seconds);
		else await lutimes(file, seconds, seconds);
	}
	await lutimes(directory, seconds, seconds);
}

async function wrapped<T>(what: string, work: Promise<T>): Promise<T> {
	return work.catch((error: unknown) => { throw new Error(`${what}: ${(error as Error).message}`, { cause: error }); });
}
