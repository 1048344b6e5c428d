// Flags and words that several commands of obd-image share.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Argv } from 'yargs';
import { defaultPlatform, parseReference, parsePlatform, type Platform } from '../../image/index.js';
import type { LayerFile } from '../../native/layers.js';
import { defaultConfigFile, hostSettings } from '../config-file.js';
import { defaultRoot } from '../default-root.js';
import type { DeviceChoice } from '../../device/index.js';
import { deviceChoices, deviceFlagHelp } from '../device-choice.js';
import { isLayerFile, parseLayer } from '../layer-args.js';

export interface RegistryFlags {
	readonly platform: string | undefined;
	readonly 'insecure-registry': readonly string[];
	readonly config: string;
}

export interface StoreFlags extends RegistryFlags {
	readonly root: string;
	readonly device: DeviceChoice | undefined;
}

export function registryFlags<T>(y: Argv<T>): Argv<T & { platform: string | undefined; 'insecure-registry': string[]; config: string }> {
	return y
		.option('platform', { type: 'string', requiresArg: true, describe: 'platform to take of an image for several (default: this machine\'s)' })
		.option('insecure-registry', { type: 'string', array: true, default: [] as string[], requiresArg: true, describe: 'HOST[:PORT] that may speak http or have no valid certificate' })
		.option('config', { type: 'string', default: defaultConfigFile, requiresArg: true, describe: 'buildkitd.toml with registry mirrors and certificates, and the device' });
}

export function storeFlags<T>(y: Argv<T>): Argv<T & { platform: string | undefined; 'insecure-registry': string[]; config: string; root: string; device: DeviceChoice | undefined }> {
	return registryFlags(y)
		.option('root', { type: 'string', default: defaultRoot, requiresArg: true, describe: 'directory of the store' })
		.option('device', { choices: deviceChoices, requiresArg: true, describe: `${lowerFirst(deviceFlagHelp)} (default: the configuration file's, else auto)` });
}

function lowerFirst(text: string): string {
	return text.charAt(0).toLowerCase() + text.slice(1);
}

export function platformOf({ platform }: RegistryFlags): Platform {
	return platform === undefined ? defaultPlatform() : parsePlatform(platform);
}

/** Aborts on the first Ctrl-C. */
export function interruption(): AbortSignal {
	const controller = new AbortController();
	for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => { controller.abort(); });
	return controller.signal;
}

/**
 * Runs `use` on the layer files that arguments name: files, DATA:INDEX or ARCHIVE+TARGET pairs, or one image reference, whose
 * layers are downloaded to a temporary directory.
 */
export async function withLayers<T>(names: readonly string[], flags: RegistryFlags, use: (layers: readonly { readonly name: string; readonly file: LayerFile }[]) => Promise<T>): Promise<T> {
	const [reference] = names;
	if (names.length !== 1 || reference === undefined || (await isLayerFile(reference)) || !isReference(reference)) {
		return use(await Promise.all(names.map(async (name) => ({ name, file: await parseLayer(name) }))));
	}
	const { downloadLayers } = await import('../../builder/index.js');
	const directory = await mkdtemp(path.join(tmpdir(), 'obd-image-'));
	try {
		const files = await downloadLayers(reference, { platform: platformOf(flags), directory, insecureRegistries: flags['insecure-registry'], hosts: (await hostSettings(flags.config)).hosts, signal: interruption() });
		return await use(files.map(({ digest, file, target }) => ({ name: digest, file: target === undefined ? file : { archive: file, target } })));
	} finally {
		await rm(directory, { recursive: true, force: true });
	}
}

/** Something with a registry or a tag in it, and no path. */
function isReference(name: string): boolean {
	if (name.startsWith('/') || name.startsWith('.') || !/[:/@]/.test(name)) return false;
	try {
		parseReference(name);
		return true;
	} catch {
		return false;
	}
}
