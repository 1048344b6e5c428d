import { mkdir, stat } from 'node:fs/promises';
import path from 'node:path';

/**
 * Makes a directory and its parents, as far as they are missing. Node's own `recursive` never ends where the
 * parent is there and still nothing can be made in it (/proc).
 */
export async function makeDirectories(directory: string): Promise<void> {
	if (await isDirectory(directory)) return;
	const parent = path.dirname(directory);
	if (parent !== directory) await makeDirectories(parent);
	try {
		await mkdir(directory);
	} catch (error) {
		if (!(await isDirectory(directory))) throw error;
	}
}

function isDirectory(directory: string): Promise<boolean> {
	return stat(directory).then((stats) => stats.isDirectory(), () => false);
}
