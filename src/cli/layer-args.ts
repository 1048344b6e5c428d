// Layers as they are named on the command line: a blob's path, DATA:INDEX for a writable layer, or
// ARCHIVE+TARGET for a turboOCI layer and the ordinary layer it points into.
import { access } from 'node:fs/promises';
import type { LayerFile } from '../native/layers.js';

async function exists(path: string): Promise<boolean> {
	return access(path).then(() => true, () => false);
}

/** Whether an argument names a file, or a pair of files. */
export async function isLayerFile(argument: string): Promise<boolean> {
	return parseLayer(argument).then(() => true, () => false);
}

/** The layer files that `argument` names. Throws an error that says which file is missing. A path with a
 *  colon or plus in it is taken as it is when such a file exists. */
export async function parseLayer(argument: string): Promise<LayerFile> {
	if (await exists(argument)) return argument;
	const turbo = splitAt(argument, argument.indexOf('+'));
	if (turbo && (await exists(turbo[0]))) {
		await mustExist(argument, 'ARCHIVE+TARGET', turbo);
		return { archive: turbo[0], target: turbo[1] };
	}
	const writable = splitAt(argument, argument.lastIndexOf(':'));
	if (!writable) throw new Error(`${argument}: no such file`);
	await mustExist(argument, 'DATA:INDEX', writable);
	return { data: writable[0], index: writable[1] };
}

function splitAt(argument: string, separator: number): [string, string] | undefined {
	if (separator <= 0 || separator === argument.length - 1) return undefined;
	return [argument.slice(0, separator), argument.slice(separator + 1)];
}

async function mustExist(argument: string, form: string, paths: readonly string[]): Promise<void> {
	for (const path of paths) {
		if (!(await exists(path))) throw new Error(`${argument}: no such file, and as ${form} there is no ${path}`);
	}
}
