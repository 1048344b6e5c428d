// The image config a build produces: OCI's, with what Docker adds. Members are in the order BuildKit writes
// them, and what is empty is left out, so that JSON.stringify gives BuildKit's bytes (but for the three
// characters Go escapes: encodeImage does that too).
import type { Platform } from '../src/llb/index.js';
import { compareBytes, defaultPath, goJson } from '../src/llb/index.js';
import type { Healthcheck } from './instructions/types.js';

export interface History {
	created?: string;
	created_by?: string;
	author?: string;
	comment?: string;
	empty_layer?: boolean;
}

/** Durations in nanoseconds. */
export interface HealthConfig {
	Test?: string[];
	Interval?: number;
	Timeout?: number;
	StartPeriod?: number;
	StartInterval?: number;
	Retries?: number;
}

export interface ContainerConfig {
	User?: string;
	ExposedPorts?: Record<string, object>;
	Env?: string[];
	Entrypoint?: string[];
	Cmd?: string[];
	Volumes?: Record<string, object>;
	WorkingDir?: string;
	Labels?: Record<string, string>;
	StopSignal?: string;
	ArgsEscaped?: boolean;
	Healthcheck?: HealthConfig;
	OnBuild?: string[];
	Shell?: string[];
}

export interface Image {
	created?: string;
	author?: string;
	architecture: string;
	os: string;
	'os.version'?: string;
	'os.features'?: string[];
	variant?: string;
	rootfs: { type: string; diff_ids: string[] | null };
	history?: History[];
	config: ContainerConfig;
}

const imageMembers = ['created', 'author', 'architecture', 'os', 'os.version', 'os.features', 'variant', 'rootfs', 'history', 'config'] as const;
const configMembers = ['User', 'ExposedPorts', 'Env', 'Entrypoint', 'Cmd', 'Volumes', 'WorkingDir', 'Labels', 'StopSignal',
	'ArgsEscaped', 'Healthcheck', 'OnBuild', 'Shell'] as const;
const historyMembers = ['created', 'created_by', 'author', 'comment', 'empty_layer'] as const;
const healthMembers = ['Test', 'Interval', 'Timeout', 'StartPeriod', 'StartInterval', 'Retries'] as const;
/** Members Go writes even when they are empty. */
const always: ReadonlySet<string> = new Set(['architecture', 'os', 'rootfs', 'config', 'Healthcheck']);

function isEmpty(value: unknown): boolean {
	if (value === undefined || value === null || value === '' || value === 0 || value === false) return true;
	return typeof value === 'object' && Object.keys(value).length === 0;
}

/** The named members that are not empty, in that order. */
function pick<T extends object, K extends keyof T & string>(value: T, members: readonly K[]): T {
	return Object.fromEntries(members.flatMap((name) => {
		const member = value[name];
		return isEmpty(member) && (!always.has(name) || member === undefined) ? [] : [[name, member]];
	})) as T;
}

/** As Go sorts map keys: by bytes. */
function sorted<T>(map: Record<string, T> | undefined): Record<string, T> | undefined {
	return map && Object.fromEntries(Object.entries(map).sort(([a], [b]) => compareBytes(a, b)));
}

/** Members in BuildKit's order, empty ones gone. */
export function orderImage(image: Image): Image {
	const config = pick(image.config, configMembers);
	for (const name of ['ExposedPorts', 'Volumes', 'Labels'] as const) {
		if (config[name]) Object.assign(config, { [name]: sorted<object | string>(config[name]) });
	}
	if (config.Healthcheck) config.Healthcheck = pick(config.Healthcheck, healthMembers);
	const ordered = pick({ ...image, config }, imageMembers);
	if (ordered.history) ordered.history = ordered.history.map((entry) => pick(entry, historyMembers));
	return ordered;
}

/** The JSON of an image config as Go's encoding/json writes it. */
export function encodeImage(image: Image): Buffer {
	const ordered = orderImage(image);
	// As an object JavaScript would put a label called `1` before all others.
	const maps = (['ExposedPorts', 'Volumes', 'Labels'] as const).flatMap((name) => {
		const map = image.config[name];
		return ordered.config[name] && map ? [[name, new Map(Object.entries<unknown>(map).sort(([a], [b]) => compareBytes(a, b)))]] : [];
	});
	return Buffer.from(goJson({ ...ordered, config: { ...ordered.config, ...Object.fromEntries(maps) } }));
}

function isObject(value: unknown): value is Record<string, unknown> {
	return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Fails for a member that is neither missing nor of the kind it must be. */
function check(where: string, object: Record<string, unknown>, kinds: Readonly<Record<string, string>>): void {
	for (const [name, kind] of Object.entries(kinds)) {
		const value = object[name];
		if (value === undefined || value === null) continue;
		const ok = kind === 'strings' ? Array.isArray(value) && value.every((one) => typeof one === 'string')
			: kind === 'object' ? isObject(value) : kind === 'objects' ? Array.isArray(value) && value.every(isObject) : typeof value === kind;
		if (!ok) throw new Error(`failed to parse image config: ${where}${name} is not ${kind === 'strings' ? 'a list of strings' : `of type ${kind}`}`);
	}
}

/** A time as Go writes it again once it has read it. */
function goTime(text: string): string {
	return text.replace(/(\.\d*?)0+(?=Z|[+-])/, '$1').replace(/\.(?=Z|[+-])/, '').replace(/[+-]00:00$/, 'Z');
}

/**
 * Reads an image config. Members BuildKit does not know are dropped, as it does.
 * @throws Error when it is no image config.
 */
export function decodeImage(bytes: Uint8Array): Image {
	let value: unknown;
	try {
		value = JSON.parse(Buffer.from(bytes).toString());
	} catch (cause) {
		throw new Error(`failed to parse image config: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
	}
	if (!isObject(value)) throw new Error('failed to parse image config: not an object');
	check('', value, {
		created: 'string', author: 'string', architecture: 'string', os: 'string', 'os.version': 'string', 'os.features': 'strings',
		variant: 'string', rootfs: 'object', history: 'objects', config: 'object',
	});
	const config = value['config'] ?? {};
	const rootfs = value['rootfs'] ?? {};
	if (!isObject(config) || !isObject(rootfs)) throw new Error('failed to parse image config: not an object');
	check('config.', config, {
		User: 'string', ExposedPorts: 'object', Env: 'strings', Entrypoint: 'strings', Cmd: 'strings', Volumes: 'object', WorkingDir: 'string',
		Labels: 'object', StopSignal: 'string', ArgsEscaped: 'boolean', Healthcheck: 'object', OnBuild: 'strings', Shell: 'strings',
	});
	check('rootfs.', rootfs, { type: 'string', diff_ids: 'strings' });
	// Checked member by member above.
	const image = value as unknown as Partial<Image>;
	return {
		...image,
		...(image.created ? { created: goTime(image.created) } : {}),
		architecture: image.architecture ?? '',
		os: image.os ?? '',
		rootfs: { type: image.rootfs?.type ?? '', diff_ids: image.rootfs?.diff_ids ?? null },
		history: (image.history ?? []).map((entry) => (entry.created ? { ...entry, created: goTime(entry.created) } : entry)),
		config: image.config ?? {},
	};
}

/** The image of `FROM scratch`. */
export function emptyImage(platform: Platform): Image {
	return {
		architecture: platform.architecture,
		os: platform.os,
		...(platform.osVersion ? { 'os.version': platform.osVersion } : {}),
		...(platform.osFeatures ? { 'os.features': [...platform.osFeatures] } : {}),
		...(platform.variant ? { variant: platform.variant } : {}),
		rootfs: { type: 'layers', diff_ids: null },
		history: [],
		config: { WorkingDir: '/', ...(platform.os === 'windows' ? {} : { Env: [`PATH=${defaultPathOf(platform.os)}`] }) },
	};
}

export function defaultPathOf(os: string): string {
	return os === 'windows' ? 'c:\\Windows\\System32;c:\\Windows;C:\\Windows\\System32\\WindowsPowerShell\\v1.0' : defaultPath;
}

/** A copy whose history can grow and whose members can be replaced; what is inside them is shared. */
export function cloneImage(image: Image): Image {
	return { ...image, rootfs: { ...image.rootfs }, history: [...(image.history ?? [])], config: { ...image.config } };
}

export function platformOfImage(image: Image): Platform {
	return {
		os: image.os,
		architecture: image.architecture,
		...(image.variant ? { variant: image.variant } : {}),
		...(image['os.version'] ? { osVersion: image['os.version'] } : {}),
		...(image['os.features'] ? { osFeatures: image['os.features'] } : {}),
	};
}

export function setPlatformOfImage(image: Image, platform: Platform): void {
	image.os = platform.os;
	image.architecture = platform.architecture;
	image.variant = platform.variant ?? '';
	image['os.version'] = platform.osVersion ?? '';
	if (platform.osFeatures) image['os.features'] = [...platform.osFeatures];
}

/** What HEALTHCHECK puts into the config. */
export function healthConfig(health: Healthcheck): HealthConfig {
	return {
		Test: [...health.test],
		Interval: health.interval,
		Timeout: health.timeout,
		StartPeriod: health.startPeriod,
		StartInterval: health.startInterval,
		Retries: health.retries,
	};
}
