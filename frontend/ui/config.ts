// The options of a build, read from the attributes a client sends.
import type { HostIP, LinuxResources, Platform, ResolveMode, Ulimit } from '../../src/llb/index.js';
import { NetMode, normalizePlatform, parsePlatform } from '../../src/llb/index.js';
import { isIP } from 'node:net';
import type { FrontendClient } from '../client.js';
import { messageOf } from '../errors.js';
import type { LintConfig } from '../lint/linter.js';
import { lintConfig } from '../lint/linter.js';
import { csvFields } from '../text/csv.js';
import { parseBool, parseInteger, quote } from '../text/format.js';

export interface Config {
	readonly buildArgs: Readonly<Record<string, string>>;
	readonly labels: Readonly<Record<string, string>>;
	readonly target: string;
	/** Empty: none asked for. */
	readonly targetPlatforms: readonly Platform[];
	readonly buildPlatform: Platform;
	readonly multiPlatform: boolean;
	readonly resolveMode: ResolveMode;
	readonly networkMode: NetMode;
	readonly extraHosts: readonly HostIP[];
	readonly hostname: string;
	/** Bytes; 0 for the default. */
	readonly shmSize: number;
	readonly ulimits: readonly Ulimit[];
	readonly cgroupParent: string;
	readonly linuxResources?: LinuxResources;
	readonly cacheIdNamespace: string;
	/** undefined: use the cache; empty: not at all; else not for these stages. */
	readonly noCache?: readonly string[];
	/** In place of `# check=`. */
	readonly lint?: LintConfig;
	/** Sessions of local sources, by their names. */
	readonly localSessions: Readonly<Record<string, string>>;
}

function wrap<T>(what: string, action: () => T): T {
	try {
		return action();
	} catch (error) {
		throw new Error(`${what}: ${messageOf(error)}`, { cause: error });
	}
}

/** Members whose names begin with `prefix`, without it. */
function withPrefix(opts: Readonly<Record<string, string>>, prefix: string): Record<string, string> {
	return Object.fromEntries(Object.entries(opts).flatMap(([key, value]) => (key.startsWith(prefix) ? [[key.slice(prefix.length), value]] : [])));
}

function parsePlatforms(text: string): Platform[] {
	if (text === '') return [];
	return text.split(',').map((one) => normalizePlatform(wrap(`failed to parse target platform ${one}`, () => parsePlatform(one))));
}

function parseResolveMode(text: string): ResolveMode {
	if (text === '') return 'default';
	if (text === 'default' || text === 'pull' || text === 'local') return text;
	throw new Error(`invalid image-resolve-mode: ${text}`);
}

function parseNetMode(text: string): NetMode {
	switch (text) {
		case '': case 'sandbox': return NetMode.UNSET;
		case 'none': return NetMode.NONE;
		case 'host': return NetMode.HOST;
		default: throw new Error(`invalid netmode ${text}`);
	}
}

function parseExtraHosts(text: string): HostIP[] {
	if (text === '') return [];
	return csvFields(text).map((field) => {
		const lower = field.toLowerCase();
		const equals = lower.indexOf('=');
		if (equals < 0) throw new Error(`invalid key-value pair ${field}`);
		const ip = lower.slice(equals + 1);
		if (isIP(ip) === 0) throw new Error(`failed to parse IP ${ip}`);
		return { Host: lower.slice(0, equals), IP: ip };
	});
}

const ulimitNames = new Set(['core', 'cpu', 'data', 'fsize', 'locks', 'memlock', 'msgqueue', 'nice', 'nofile', 'nproc', 'rss',
	'rtprio', 'rttime', 'sigpending', 'stack']);

function parseUlimit(text: string): Ulimit {
	const equals = text.indexOf('=');
	if (equals < 0) throw new Error(`invalid ulimit argument: ${text}`);
	const name = text.slice(0, equals);
	if (!ulimitNames.has(name)) throw new Error(`invalid ulimit type: ${name}`);
	const limits = text.slice(equals + 1).split(':');
	if (limits.length > 2) {
		throw new Error(`too many limit value arguments - ${text.slice(equals + 1)}, can only have up to two, \`soft[:hard]\``);
	}
	const [first = '', second] = limits;
	const hard = parseInteger(second ?? first);
	const soft = parseInteger(first);
	if (hard !== -1n && (soft === -1n || soft > hard)) {
		const detail = soft === -1n ? `soft: -1 (unlimited), hard: ${hard}` : `${soft} > ${hard}`;
		throw new Error(`ulimit soft limit must be less than or equal to hard limit: ${detail}`);
	}
	return { Name: name, Soft: soft, Hard: hard };
}

function parseLinuxResources(opts: Readonly<Record<string, string>>): LinuxResources | undefined {
	const number = (key: string, unsigned: boolean, allowed: (value: bigint) => boolean, rule: string): bigint => {
		const text = opts[key] ?? '';
		if (text === '') return 0n;
		const value = wrap(`invalid ${key} value: ${text}`, () => parseInteger(text, { unsigned }));
		if (!allowed(value)) throw new Error(`invalid ${key} value: ${text}: must be ${rule}`);
		return value;
	};
	const positive = (value: bigint): boolean => value > 0n;
	const cpuset = (key: string): string => {
		const text = opts[key] ?? '';
		for (const part of text.split(',').map((one) => one.trim()).filter((one) => one !== '')) {
			const match = /^(\d+)(?:\s*-\s*(\d+))?$/.exec(part);
			const first = Number(match?.[1]);
			const last = Number(match?.[2] ?? match?.[1]);
			if (!match || last < first) throw new Error(`invalid ${key} value: ${text}: invalid cpuset ${part.includes('-') ? 'range' : 'element'} ${quote(part)}`);
			if (last > 8192) throw new Error(`invalid ${key} value: ${text}: cpuset ${part.includes('-') ? 'range' : 'element'} ${quote(part)} exceeds maximum 8192`);
		}
		return text;
	};
	const resources: LinuxResources = {
		memory: number('memory', false, positive, '> 0'),
		memorySwap: number('memswap', false, (value) => value === -1n || value > 0n, '-1 (unlimited) or > 0'),
		cpuShares: number('cpushares', true, positive, '> 0'),
		cpuPeriod: number('cpuperiod', true, positive, '> 0'),
		cpuQuota: number('cpuquota', false, positive, '> 0'),
		cpusetCpus: cpuset('cpusetcpus'),
		cpusetMems: cpuset('cpusetmems'),
	};
	return Object.values(resources).some((value) => value !== 0n && value !== '') ? resources : undefined;
}

function parseMultiPlatform(text: string, count: number): boolean {
	if (text === '') return count > 1;
	const value = parseBool(text);
	if (value === undefined) throw new Error(`invalid boolean value for multi-platform: ${text}`);
	if (!value && count > 1) throw new Error('conflicting config: returning multiple target platforms is not allowed');
	return value;
}

/**
 * Reads the options.
 * @throws Error with BuildKit's text for values that make no sense.
 */
export function readConfig({ opts, buildPlatform, llbCaps }: FrontendClient): Config {
	if (llbCaps && !llbCaps.has('file.base')) throw new Error('needs BuildKit 0.5 or later: the daemon cannot run file operations');
	const option = (name: string): string => opts[name] ?? '';
	const targetPlatforms = parsePlatforms(option('platform'));
	const noCache = opts['no-cache'];
	const lint = opts['build-arg:BUILDKIT_DOCKERFILE_CHECK'];
	const linuxResources = wrap('failed to parse resource limits', () => parseLinuxResources(opts));
	return {
		buildArgs: withPrefix(opts, 'build-arg:'),
		labels: withPrefix(opts, 'label:'),
		target: option('target'),
		targetPlatforms,
		buildPlatform,
		resolveMode: parseResolveMode(option('image-resolve-mode')),
		extraHosts: wrap('failed to parse additional hosts', () => parseExtraHosts(option('add-hosts'))),
		shmSize: wrap('failed to parse shm size', () => (option('shm-size') === '' ? 0 : Number(parseInteger(option('shm-size'))))),
		ulimits: wrap('failed to parse ulimit', () => (option('ulimit') === '' ? [] : csvFields(option('ulimit')).map(parseUlimit))),
		...(linuxResources ? { linuxResources } : {}),
		networkMode: parseNetMode(option('force-network-mode')),
		multiPlatform: parseMultiPlatform(option('build-arg:BUILDKIT_MULTI_PLATFORM') || option('multi-platform'), targetPlatforms.length),
		cacheIdNamespace: option('build-arg:BUILDKIT_CACHE_MOUNT_NS'),
		cgroupParent: option('cgroup-parent'),
		hostname: option('build-arg:BUILDKIT_SANDBOX_HOSTNAME') || option('hostname'),
		...(noCache === undefined ? {} : { noCache: noCache === '' ? [] : noCache.split(',') }),
		...(lint === undefined ? {} : { lint: lintConfig(lint, 'build-arg:BUILDKIT_DOCKERFILE_CHECK') }),
		localSessions: withPrefix(opts, 'local-sessionid:'),
	};
}

/** Whether a stage is to be built without the cache. */
export function isNoCache({ noCache }: Config, stage: string): boolean {
	if (!noCache) return false;
	return noCache.length === 0 || noCache.some((name) => name.toLowerCase() === stage.toLowerCase());
}
