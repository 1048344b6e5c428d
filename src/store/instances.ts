// Processes that use the store. Each has a directory `run/<id>/` for its working files and a lock beside it
// that ends with the process, however that ends: whoever starts next finds what the dead have left.
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readlink, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { isErrno } from './errors.js';

const lockSuffix = '.lock';

/** What a dead process has left: its id and its working directory. */
export interface DeadInstance {
	readonly id: string;
	readonly directory: string;
}

/** This process' place in the store. */
export class Instance {
	private constructor(readonly id: string, private readonly runDirectory: string) {}

	static async create(runDirectory: string): Promise<Instance> {
		await mkdir(runDirectory, { recursive: true });
		const id = randomBytes(8).toString('hex');
		await writeFile(path.join(runDirectory, id + lockSuffix), await identity('self'), { flag: 'wx' });
		const instance = new Instance(id, runDirectory);
		await mkdir(instance.directory);
		return instance;
	}

	/** Working files of this process; on the same file system as the blobs. */
	get directory(): string {
		return path.join(this.runDirectory, this.id);
	}

	/** Removes the working files and gives up the id. */
	async close(): Promise<void> {
		await removeInstance(this.runDirectory, this.id);
	}
}

/**
 * Calls `cleanup` for each instance whose process is gone, then removes its files. Of several callers at the
 * same time one gets each instance. When `cleanup` throws, the instance is left for the next start.
 */
export async function recoverInstances(runDirectory: string, self: string | undefined, cleanup: (dead: DeadInstance) => Promise<void>): Promise<void> {
	for (const name of await listDirectory(runDirectory)) {
		const id = name.slice(0, -lockSuffix.length);
		if (!name.endsWith(lockSuffix) || id === self || await isAlive(runDirectory, id)) continue;
		await cleanup({ id, directory: path.join(runDirectory, id) });
		await removeInstance(runDirectory, id);
	}
}

/** Whether the process behind an instance still runs. */
export async function isAlive(runDirectory: string, id: string): Promise<boolean> {
	let owner: string;
	try {
		owner = await readFile(path.join(runDirectory, id + lockSuffix), 'utf8');
	} catch (error) {
		if (isErrno(error, 'ENOENT')) return false;
		throw error;
	}
	return owner === await identity(owner.split(' ')[1] ?? '0').catch(() => '');
}

/** `<boot id> <pid> <start time> <pid namespace>` of a process. */
async function identity(process_: string): Promise<string> {
	const [boot, stat, namespace] = await Promise.all([
		readFile('/proc/sys/kernel/random/boot_id', 'utf8'),
		readFile(`/proc/${process_}/stat`, 'utf8'),
		readlink('/proc/self/ns/pid'),
	]);
	// The command name, in parentheses, may hold anything.
	const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
	return `${boot.trim()} ${Number.parseInt(stat, 10)} ${fields[19]} ${namespace}`;
}

async function removeInstance(runDirectory: string, id: string): Promise<void> {
	await rm(path.join(runDirectory, id), { recursive: true, force: true });
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
