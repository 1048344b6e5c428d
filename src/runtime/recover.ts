// Clears what the containers of a killed builder instance left.
import { readdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { removeCgroup, removeDirectories } from './cgroups.js';
import { createdCgroupsFile, layoutOf } from './layout.js';
import { deleteContainer, endRunc } from './runc.js';

/**
 * Ends and removes all containers of the instance that owned `dir`, with their cgroups, files and secrets.
 * The instance must be dead (runc dies with it; the processes in its containers may live on).
 */
export async function recoverContainers(dir: string): Promise<void> {
	const { runcRoot, bundles, files, cgroup, secrets } = layoutOf(dir);
	await endRunc(runcRoot);
	// Then whatever still runs, so that nothing is in the way of what follows.
	await removeCgroup(cgroup);
	for (const id of await names(bundles)) await removeForeignCgroups(path.join(bundles, id));
	for (const id of await names(runcRoot)) await deleteContainer(runcRoot, id);
	await removeCgroup(cgroup);
	await Promise.all([runcRoot, bundles, files, secrets].map((leftover) => rm(leftover, { recursive: true, force: true })));
}

/** A container with a cgroup parent of the user's choice. */
async function removeForeignCgroups(bundle: string): Promise<void> {
	const record = await readFile(path.join(bundle, createdCgroupsFile), 'utf8').then(parseRecord, () => undefined);
	if (!record) return;
	await removeCgroup(record.cgroupsPath);
	await removeDirectories(record.created);
}

/** Undefined for a record that was being written when the instance died: its container never started. */
function parseRecord(text: string): { readonly cgroupsPath: string; readonly created: readonly string[] } | undefined {
	try {
		return JSON.parse(text) as { cgroupsPath: string; created: string[] };
	} catch {
		return undefined;
	}
}

async function names(dir: string): Promise<readonly string[]> {
	return readdir(dir).catch(() => []);
}
