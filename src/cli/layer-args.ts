// Layers as they are named on the command line: a blob's path, or DATA:INDEX for a writable layer.
import { access } from 'node:fs/promises';
import type { LayerFile } from '../native/layers.js';

async function exists(path: string): Promise<boolean> {
	return access(path).then(() => true, () => false);
}

/** Whether an argument names a file, or a DATA:INDEX pair of files. */
export async function isLayerFile(argument: string): Promise<boolean> {
	return parseLayer(argument).then(() => true, () => false);
}

/** The layer files that `argument` names. Throws an error that says which file is missing. A path with a
 *  colon in it is taken as it is when such a file exists. */
export async function parseLayer(argument: string): Promise<LayerFile> {
	if (await exists(argument)) return argument;
	const colon = argument.lastIndexOf(':');
	if (colon <= 0 || colon === argument.length - 1) throw new Error(`${argument}: no such file`);
	const data = argument.slice(0, colon);
	const index = argument.slice(colon + 1);
	for (const path of [data, index]) {
		if (!(await exists(path))) throw new Error(`${argument}: no such file, and as DATA:INDEX there is no ${path}`);
	}
	return { data, index };
}
