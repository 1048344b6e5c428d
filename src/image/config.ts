// The image config: what a container starts with, the history and the layers' diffIDs. OCI's members plus
// Docker's (Healthcheck, OnBuild, Shell). Members keep the names they have in the JSON.
import { parsePlatformObject } from './descriptor.js';
import {
	asObject, encodeJson, fromParsed, goMap, omitEmpty, optionalList, optionalString, optionalStringMap, optionalStrings, ordered, parseObject,
	type Json, type JsonRecord, type OrderedObject,
} from './json.js';
import type { Platform } from './platform.js';

export interface Healthcheck {
	readonly Test?: readonly string[];
	/** Durations in nanoseconds; 0 or undefined inherits. */
	readonly Interval?: number;
	readonly Timeout?: number;
	readonly StartPeriod?: number;
	readonly StartInterval?: number;
	readonly Retries?: number;
}

/** What the container runs: the `config` member. */
export interface ContainerConfig {
	readonly User?: string;
	readonly ExposedPorts?: Readonly<Record<string, object>>;
	readonly Env?: readonly string[];
	readonly Entrypoint?: readonly string[];
	readonly Cmd?: readonly string[];
	readonly Volumes?: Readonly<Record<string, object>>;
	readonly WorkingDir?: string;
	readonly Labels?: Readonly<Record<string, string>>;
	readonly StopSignal?: string;
	/** Windows only: Cmd or Entrypoint is one pre-escaped command line. */
	readonly ArgsEscaped?: boolean;
	readonly Healthcheck?: Healthcheck;
	readonly OnBuild?: readonly string[];
	readonly Shell?: readonly string[];
}

export interface History {
	/** RFC 3339. */
	readonly created?: string;
	readonly created_by?: string;
	readonly author?: string;
	readonly comment?: string;
	/** The step made no layer. */
	readonly empty_layer?: boolean;
}

export interface RootFs {
	readonly type: string;
	/** Digests of the uncompressed layers, bottom first. */
	readonly diff_ids: readonly string[];
}

export interface ImageConfig {
	/** RFC 3339. */
	readonly created?: string;
	readonly author?: string;
	readonly architecture: string;
	readonly os: string;
	readonly 'os.version'?: string;
	readonly 'os.features'?: readonly string[];
	readonly variant?: string;
	readonly config?: ContainerConfig;
	readonly rootfs: RootFs;
	readonly history?: readonly History[];
	/** Members we do not know are kept and written back. */
	readonly [other: string]: unknown;
}

/** What Docker gives a container whose image sets no PATH. */
export const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Checks and takes over a config; unknown members are kept. */
export function parseImageConfig(bytes: Uint8Array, what = 'image config'): ImageConfig {
	const object = parseObject(bytes, what);
	const rootfs = object['rootfs'] == null ? {} : asObject(object['rootfs'], `${what}: rootfs`);
	parsePlatformObject(object, what);
	for (const key of ['created', 'author']) optionalString(object, key, what);
	const history = optionalList(object, 'history', what)?.map((entry, i) => checkHistory(asObject(entry, `${what}: history ${i}`), `${what}: history ${i}`));
	return {
		...object,
		architecture: optionalString(object, 'architecture', what) ?? '',
		os: optionalString(object, 'os', what) ?? '',
		...(object['config'] != null && { config: checkContainerConfig(asObject(object['config'], `${what}: config`), `${what}: config`) }),
		rootfs: {
			type: optionalString(rootfs, 'type', `${what}: rootfs`) ?? 'layers',
			diff_ids: optionalStrings(rootfs, 'diff_ids', `${what}: rootfs`) ?? [],
		},
		...(history !== undefined && { history }),
	};
}

function checkHistory(object: JsonRecord, what: string): History {
	for (const key of ['created', 'created_by', 'author', 'comment']) optionalString(object, key, what);
	if (object['empty_layer'] != null && typeof object['empty_layer'] !== 'boolean') throw new Error(`${what}: empty_layer must be true or false`);
	return object as History;
}

function checkContainerConfig(object: JsonRecord, what: string): ContainerConfig {
	for (const key of ['User', 'WorkingDir', 'StopSignal']) optionalString(object, key, what);
	for (const key of ['Env', 'Entrypoint', 'Cmd', 'OnBuild', 'Shell']) optionalStrings(object, key, what);
	for (const key of ['ExposedPorts', 'Volumes']) {
		if (object[key] != null) asObject(object[key], `${what}: ${key}`);
	}
	optionalStringMap(object, 'Labels', what);
	if (object['Healthcheck'] != null) checkHealthcheck(asObject(object['Healthcheck'], `${what}: Healthcheck`), `${what}: Healthcheck`);
	// Go reads null as absent; so does everyone who uses the value.
	return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== null)) as ContainerConfig;
}

function checkHealthcheck(object: JsonRecord, what: string): void {
	optionalStrings(object, 'Test', what);
	for (const key of ['Interval', 'Timeout', 'StartPeriod', 'StartInterval', 'Retries']) {
		if (object[key] != null && !Number.isInteger(object[key])) throw new Error(`${what}: ${key} must be a whole number`);
	}
}

/** The platform the config is for. */
export function configPlatform(config: ImageConfig): Platform {
	return parsePlatformObject(config, 'image config');
}

/** A config for a new image without layers, as BuildKit makes it for `scratch`. */
export function newImageConfig(platform: Platform): ImageConfig {
	return {
		architecture: platform.architecture,
		os: platform.os,
		...(platform.osVersion !== undefined && { 'os.version': platform.osVersion }),
		...(platform.osFeatures !== undefined && { 'os.features': platform.osFeatures }),
		...(platform.variant !== undefined && { variant: platform.variant }),
		config: { ...(platform.os !== 'windows' && { Env: [`PATH=${defaultPath}`] }), WorkingDir: '/' },
		rootfs: { type: 'layers', diff_ids: [] },
	};
}

/**
 * The config's bytes as BuildKit's exporter writes them: compact, top-level members sorted (it goes through a
 * Go map), the members below in Go's struct order.
 */
export function encodeImageConfig(config: ImageConfig): Uint8Array {
	const members = Object.keys(config).sort().map((key) => [key, memberJson(key, config)] as const);
	return encodeJson(ordered(members));
}

function memberJson(key: string, config: ImageConfig): Json | undefined {
	switch (key) {
		case 'config': return config.config === undefined ? undefined : containerConfigJson(config.config);
		case 'rootfs': return ordered([['type', config.rootfs.type], ['diff_ids', config.rootfs.diff_ids]]);
		case 'history': return config.history?.map(historyJson);
		case 'author': case 'variant': case 'os.version': return omitEmpty(config[key]);
		case 'os.features': return omitEmpty(config['os.features']);
		default: return config[key] === undefined ? undefined : fromParsed(config[key]);
	}
}

function historyJson(history: History): OrderedObject {
	return ordered([
		['created', omitEmpty(history.created)],
		['created_by', omitEmpty(history.created_by)],
		['author', omitEmpty(history.author)],
		['comment', omitEmpty(history.comment)],
		['empty_layer', history.empty_layer === true ? true : undefined],
	]);
}

function containerConfigJson(config: ContainerConfig): OrderedObject {
	const known: readonly (readonly [string, Json | undefined])[] = [
		['User', omitEmpty(config.User)],
		['ExposedPorts', emptyObjects(config.ExposedPorts)],
		['Env', omitEmpty(config.Env)],
		['Entrypoint', omitEmpty(config.Entrypoint)],
		['Cmd', omitEmpty(config.Cmd)],
		['Volumes', emptyObjects(config.Volumes)],
		['WorkingDir', omitEmpty(config.WorkingDir)],
		['Labels', goMap(config.Labels)],
		['StopSignal', omitEmpty(config.StopSignal)],
		['ArgsEscaped', config.ArgsEscaped === true ? true : undefined],
		['Healthcheck', config.Healthcheck === undefined ? undefined : healthcheckJson(config.Healthcheck)],
		['OnBuild', omitEmpty(config.OnBuild)],
		['Shell', omitEmpty(config.Shell)],
	];
	const names = new Set(known.map(([name]) => name));
	const others = Object.entries(config).filter(([name]) => !names.has(name));
	return ordered([...known, ...others.map(([name, value]) => [name, value === undefined ? undefined : fromParsed(value)] as const)]);
}

function emptyObjects(set: Readonly<Record<string, object>> | undefined): OrderedObject | undefined {
	return goMap(set === undefined ? undefined : Object.fromEntries(Object.keys(set).map((key) => [key, new Map()])));
}

function healthcheckJson(check: Healthcheck): OrderedObject {
	const number = (value: number | undefined) => (value === 0 ? undefined : value);
	return ordered([
		['Test', omitEmpty(check.Test)],
		['Interval', number(check.Interval)],
		['Timeout', number(check.Timeout)],
		['StartPeriod', number(check.StartPeriod)],
		['StartInterval', number(check.StartInterval)],
		['Retries', number(check.Retries)],
	]);
}
