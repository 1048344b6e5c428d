// What is left for the caller after a build: --metadata-file, --iidfile, the printed image id, --load.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { rename, rm, writeFile } from 'node:fs/promises';

const provenanceKey = 'buildx.build.provenance';

type Metadata = Readonly<Record<string, string>>;

/** The image id: the digest of the config where there is one, else of the manifest. '' without an image. */
export function imageId(metadata: Metadata): string {
	return metadata['containerimage.config.digest'] ?? metadata['containerimage.digest'] ?? '';
}

/** `provenance`: how much of it is written: `min` (default), `max` or `disabled`. Written beside its place and moved, so that no reader sees half of it. */
export async function writeMetadataFile(file: string, metadata: Metadata, provenance: string): Promise<void> {
	const keys = Object.keys(metadata).filter((key) => provenance !== 'disabled' || !key.startsWith(provenanceKey)).sort();
	const decoded = Object.fromEntries(keys.map((key) => {
		const value = decode(key, metadata[key] ?? '');
		return [key, key.startsWith(provenanceKey) && provenance !== 'max' ? shortened(value) : value];
	}));
	await writeAtomically(file, JSON.stringify(decoded, null, 2));
}

/** Provenance without its details: neither the build's steps nor its times. */
function shortened(predicate: unknown): unknown {
	const { buildConfig: _config, metadata: _metadata, ...rest } = predicate as Record<string, unknown>;
	const { buildDefinition, runDetails } = rest as Partial<Record<string, Record<string, unknown>>>;
	if (!buildDefinition || !runDetails) return rest;
	const { buildConfig: _steps, ...internalParameters } = (buildDefinition['internalParameters'] ?? {}) as Record<string, unknown>;
	const { metadata: _times, ...details } = runDetails;
	return { ...rest, buildDefinition: { ...buildDefinition, internalParameters }, runDetails: details };
}

/** Values that hold a JSON object or a list of objects, most of them in base64, appear as such. */
function decode(key: string, value: string): unknown {
	const text = key === 'result.json' ? value : Buffer.from(value, 'base64').toString('utf8');
	try {
		const parsed: unknown = JSON.parse(text);
		return typeof parsed === 'object' && parsed !== null && Object.keys(parsed).length > 0 ? parsed : value;
	} catch {
		return value;
	}
}

async function writeAtomically(file: string, content: string): Promise<void> {
	const temporary = `${file}.${randomBytes(6).toString('hex')}.tmp`;
	try {
		await writeFile(temporary, content, { mode: 0o644 });
		await rename(temporary, file);
	} catch (error) {
		await rm(temporary, { force: true });
		throw error;
	}
}

/** Gives an image archive to docker. */
export async function loadIntoDocker(archive: string): Promise<void> {
	const docker = spawn('docker', ['load', '--quiet', '--input', archive], { stdio: ['ignore', 'inherit', 'inherit'] });
	const code = await Promise.race([
		once(docker, 'exit').then(([status]) => status as number | null),
		once(docker, 'error').then(([error]) => { throw new Error(`--load: docker cannot be run: ${(error as Error).message}`, { cause: error }); }),
	]);
	if (code !== 0) throw new Error(`--load: docker load failed with exit code ${code ?? 'unknown'}`);
}
