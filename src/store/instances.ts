// Processes that use the store. Each has a directory `run/<id>/` for its working files and a locked file beside
// it: the lock ends with the process, however that ends, and whoever starts next finds what the dead have left.
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { constants } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readMounts, tryLockFile, type FileLock } from '../native/system.js';
import { isErrno, StoreError } from './errors.js';

const lockSuffix = '.lock';
const sigkillBit = 1n << BigInt(constants.signals.SIGKILL - 1);

/** What a dead process has left: its id and its working directory. */
export interface DeadInstance {
	readonly id: string;
	readonly directory: string;
}

/** A dead instance that could not be cleaned up; the next start tries again. */
export interface RecoverFailure extends DeadInstance {
	readonly error: unknown;
}

/** This process' place in the store. */
export class Instance {
	private constructor(readonly id: string, private readonly runDirectory: string, private readonly lock: FileLock) {}

	static async create(runDirectory: string): Promise<Instance> {
		await mkdir(runDirectory, { recursive: true });
		for (;;) {
			const id = randomBytes(8).toString('hex');
			const lock = await tryLockFile(path.join(runDirectory, id + lockSuffix));
			// Another process, that looks for the dead, may be quicker with the lock than we are.
			if (lock === undefined) continue;
			const instance = new Instance(id, runDirectory, lock);
			await writeFile(path.join(runDirectory, id + lockSuffix), String(process.pid));
			await mkdir(instance.directory);
			return instance;
		}
	}

	/** Working files of this process; on the same file system as the blobs. */
	get directory(): string {
		return path.join(this.runDirectory, this.id);
	}

	/** Removes the working files and gives up the id. Fails, and leaves all, while something is mounted there. */
	async close(): Promise<void> {
		await removeFiles(this.runDirectory, this.id);
		await this.lock.release();
	}
}

/**
 * Calls `cleanup` for each instance whose process is gone, then removes its files. Of several callers at the
 * same time one gets each instance. One that cannot be cleaned up stays as it is, and the others go on. A
 * process that was killed, and cannot end because it waits for a disk without a server, needs `cleanup` first.
 */
export async function recoverInstances(runDirectory: string, cleanup: (dead: DeadInstance) => Promise<void>): Promise<RecoverFailure[]> {
	const failures: RecoverFailure[] = [];
	for (const name of await listDirectory(runDirectory)) {
		if (!name.endsWith(lockSuffix)) continue;
		const id = name.slice(0, -lockSuffix.length);
		const dead = { id, directory: path.join(runDirectory, id) };
		const lock = (await tryLockFile(path.join(runDirectory, name))) ?? (await lockOfKilled(path.join(runDirectory, name), () => cleanup(dead)));
		if (lock === undefined) continue;
		try {
			await cleanup(dead);
			await removeFiles(runDirectory, id);
		} catch (error) {
			failures.push({ ...dead, error });
		} finally {
			await lock.release();
		}
	}
	return failures;
}

/** The lock of a process that is being killed, once `release` has let it end. Undefined while it lives. */
async function lockOfKilled(file: string, release: () => Promise<void>): Promise<FileLock | undefined> {
	const pid = await readFile(file, 'utf8').catch(() => '');
	if (pid === '' || !(await isKilled(pid))) return undefined;
	await release().catch(() => undefined); // it is called again, and its failure told, with the lock
	for (let tries = 0; tries < 100; tries++) {
		const lock = await tryLockFile(file);
		if (lock !== undefined) return lock;
		await sleep(50);
	}
	return undefined;
}

/** Whether a process has got SIGKILL, and has not ended. */
async function isKilled(pid: string): Promise<boolean> {
	const threads = await listDirectory(`/proc/${pid}/task`).catch(() => []);
	const statuses = await Promise.all(threads.map((thread) => readFile(`/proc/${pid}/task/${thread}/status`, 'utf8').catch(() => '')));
	return statuses.some((status) => {
		const [, pending] = /^SigPnd:\s*([0-9a-f]+)$/m.exec(status) ?? [];
		return pending !== undefined && (BigInt(`0x${pending}`) & sigkillBit) !== 0n;
	});
}

/** The lock's holder calls it. The lock file goes last: without it nobody would look at the directory again. */
async function removeFiles(runDirectory: string, id: string): Promise<void> {
	const directory = path.join(runDirectory, id);
	const mounted = (await readMounts()).find(({ mountPoint }) => `${mountPoint}/`.startsWith(`${path.resolve(directory)}/`));
	// Removing through a mount would remove somebody's files.
	if (mounted !== undefined) throw new StoreError(`cannot remove ${directory}: ${mounted.mountPoint} is still mounted`);
	await rm(directory, { recursive: true, force: true });
	await rm(path.join(runDirectory, id + lockSuffix), { force: true });
}

async function listDirectory(directory: string): Promise<string[]> {
	try {
		return await readdir(directory);
	} catch (error) {
		if (isErrno(error, 'ENOENT')) return [];
		throw error;
	}
}
