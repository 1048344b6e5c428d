// What is left for the caller after a build: --metadata-file, --iidfile, the printed image id, --load.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { rename, rm, writeFile } from 'node:fs/promises';

type Metadata = Readonly<Record<string, string>>;

/** The image id: the digest of the config where there is one, else of the manifest. '' without an image. */
export function imageId(metadata: Metadata): string {
	return metadata['containerimage.config.digest'] ?? metadata['containerimage.digest'] ?? '';
}

/** Written beside its place and moved, so that no reader sees half of it. */
export async function writeMetadataFile(file: string, metadata: Metadata): Promise<void> {
	const decoded = Object.fromEntries(Object.keys(metadata).sort().map((key) => [key, decode(key, metadata[key] ?? '')]));
	await writeAtomically(file, JSON.stringify(decoded, null, 2));
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
