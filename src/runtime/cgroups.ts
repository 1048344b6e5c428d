// The cgroup directories of containers, in every mounted hierarchy (v1, hybrid, v2). runc makes the parents
// of a container's cgroup and leaves them behind; here they are removed.
import { readdir, readFile, rmdir } from 'node:fs/promises';
import path from 'node:path';

let found: Promise<readonly string[]> | undefined;

/** Mount points of the cgroup hierarchies. */
function hierarchies(): Promise<readonly string[]> {
	found ??= readFile('/proc/self/mountinfo', 'utf8').then((text) => [...new Set(text.split('\n').flatMap((line) => {
		const [mounted = '', fileSystem = ''] = line.split(' - ');
		const mountPoint = mounted.split(' ')[4];
		return mountPoint !== undefined && /^cgroup2? /.test(fileSystem) ? [mountPoint.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)))] : [];
	}))]);
	return found;
}

/** Whether /sys/fs/cgroup is the unified hierarchy, the only case in which runc can give a cgroup namespace. */
export async function isUnified(): Promise<boolean> {
	return (await hierarchies()).some((mountPoint) => mountPoint === '/sys/fs/cgroup');
}

/**
 * The directories that will have to be made for this cgroup, deepest first: absolute paths in all
 * hierarchies. The cgroup itself is not among them.
 */
export async function missingParents(cgroup: string): Promise<readonly string[]> {
	const missing: string[] = [];
	for (const hierarchy of await hierarchies()) {
		for (let parent = path.posix.dirname(cgroup); parent !== '/'; parent = path.posix.dirname(parent)) {
			const dir = path.join(hierarchy, parent);
			if (await exists(dir)) break;
			missing.push(dir);
		}
	}
	return missing;
}

/** Removes cgroup directories, in this order, as far as they are empty. */
export async function removeDirectories(dirs: readonly string[]): Promise<void> {
	for (const dir of dirs) await rmdir(dir).catch(() => undefined);
}

/** Removes a cgroup and all below it in every hierarchy. Processes in it are killed first. */
export async function removeCgroup(cgroup: string): Promise<void> {
	await Promise.all((await hierarchies()).map((hierarchy) => removeTree(path.join(hierarchy, cgroup))));
}

/** How long to wait for killed processes to leave their cgroup, milliseconds. */
const patience = 5000;

async function removeTree(dir: string): Promise<void> {
	const deadline = performance.now() + patience;
	while (!(await removeOnce(dir))) {
		if (performance.now() > deadline) throw new Error(`cgroup ${dir} cannot be removed: processes in it do not end`);
		await new Promise((resolve) => setTimeout(resolve, 5));
	}
}

/** True when the directory is gone. */
async function removeOnce(dir: string): Promise<boolean> {
	const entries = await readdir(dir, { withFileTypes: true }).catch(() => undefined);
	if (!entries) return true;
	for (const entry of entries) {
		if (entry.isDirectory() && !(await removeOnce(path.join(dir, entry.name)))) return false;
	}
	for (const pid of (await readFile(path.join(dir, 'cgroup.procs'), 'utf8').catch(() => '')).split('\n')) {
		if (pid !== '' && pid !== '0') kill(Number(pid));
	}
	return rmdir(dir).then(() => true, (error: NodeJS.ErrnoException) => error.code === 'ENOENT');
}

function kill(pid: number): void {
	try {
		process.kill(pid, 'SIGKILL');
	} catch {
		// it ended by itself
	}
}

function exists(dir: string): Promise<boolean> {
	return readdir(dir).then(() => true, () => false);
}
