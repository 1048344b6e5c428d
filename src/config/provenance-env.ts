// What an operator wants to be said in the provenance of every build: JSON objects in the files of a directory.
import { readFile, readdir } from 'node:fs/promises';
import path from 'node:path';

const defaultDirectory = '/etc/buildkit/provenance.d';
const reservedKeys: ReadonlySet<string> = new Set(['buildConfig', 'builderPlatform', 'platform']);

/** All files' members, those of later names over those of earlier ones. A directory that is not there says nothing. */
export async function readProvenanceEnv(directory: string = defaultDirectory): Promise<Record<string, unknown>> {
	const env: Record<string, unknown> = {};
	for (const name of (await namesIn(directory)).filter((one) => one.endsWith('.json')).sort()) {
		const file = path.join(directory, name);
		try {
			const content: unknown = JSON.parse(await readFile(file, 'utf8'));
			if (typeof content !== 'object' || content === null || Array.isArray(content)) throw new Error('not an object');
			const reserved = Object.keys(content).find((key) => reservedKeys.has(key));
			if (reserved !== undefined) throw new Error(`key ${JSON.stringify(reserved)} is builtin and not allowed to be modified in provenance config`);
			Object.assign(env, content);
		} catch (error) {
			throw new Error(`failed to parse ${file}: ${(error as Error).message}`, { cause: error });
		}
	}
	return env;
}

async function namesIn(directory: string): Promise<string[]> {
	try {
		return await readdir(directory);
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
		throw error;
	}
}
