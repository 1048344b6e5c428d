// Platforms as containerd/platforms reads, writes and normalizes them.
import * as os from 'node:os';
import { goQuote } from './gotext.js';

export interface Platform {
	readonly os: string;
	readonly architecture: string;
	readonly variant?: string;
	readonly osVersion?: string;
	readonly osFeatures?: readonly string[];
}

/** Node's names of architectures that Go calls otherwise. */
const goArch: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386', ppc64: os.endianness() === 'LE' ? 'ppc64le' : 'ppc64' };

const knownOs = new Set(['aix', 'android', 'darwin', 'dragonfly', 'freebsd', 'hurd', 'illumos', 'ios', 'js', 'linux',
	'nacl', 'netbsd', 'openbsd', 'plan9', 'solaris', 'windows', 'zos']);
const knownArch = new Set(['386', 'amd64', 'amd64p32', 'arm', 'armbe', 'arm64', 'arm64be', 'ppc64', 'ppc64le', 'loong64',
	'mips', 'mipsle', 'mips64', 'mips64le', 'mips64p32', 'mips64p32le', 'ppc', 'riscv', 'riscv64', 's390', 's390x',
	'sparc', 'sparc64', 'wasm']);

const componentPattern = '^[A-Za-z0-9_.-]+$';
const osPattern = '^([A-Za-z0-9_-]+)(?:\\(([A-Za-z0-9_.%-]*)((?:\\+[A-Za-z0-9_.%-]+)*)\\))?$';
const component = new RegExp(componentPattern);
const osComponent = new RegExp(osPattern);

/** The platform this process runs on. */
export function hostPlatform(): Platform {
	return normalizePlatform({ os: process.platform, architecture: goArch[process.arch] ?? process.arch });
}

function normalizeOs(name: string): string {
	const lower = name.toLowerCase();
	return lower === '' ? process.platform : lower === 'macos' ? 'darwin' : lower;
}

function normalizeArch(architecture: string, variantName: string): [architecture: string, variant: string] {
	const arch = architecture.toLowerCase();
	const variant = variantName.toLowerCase();
	switch (arch) {
		case 'i386':
			return ['386', ''];
		case 'x86_64': case 'x86-64': case 'amd64':
			return ['amd64', variant === 'v1' ? '' : variant];
		case 'aarch64': case 'arm64':
			if (variant === '8' || variant === 'v8' || variant === 'v8.0') return ['arm64', ''];
			if (variant === '9' || variant === '9.0' || variant === 'v9.0') return ['arm64', 'v9'];
			return ['arm64', variant];
		case 'armhf':
			return ['arm', 'v7'];
		case 'armel':
			return ['arm', 'v6'];
		case 'arm':
			if (variant === '' || variant === '7') return ['arm', 'v7'];
			if (variant === '5' || variant === '6' || variant === '8') return ['arm', `v${variant}`];
			return ['arm', variant];
		default:
			return [arch, variant];
	}
}

function make(name: string, architecture: string, variant: string, osVersion?: string, osFeatures?: readonly string[]): Platform {
	return {
		os: name,
		architecture,
		...(variant ? { variant } : {}),
		...(osVersion ? { osVersion } : {}),
		...(osFeatures?.length ? { osFeatures } : {}),
	};
}

/** The canonical spelling of a platform: `x86_64` is `amd64`, `arm64/v8` is `arm64`, and so on. */
export function normalizePlatform(platform: Platform): Platform {
	const [architecture, variant] = normalizeArch(platform.architecture, platform.variant ?? '');
	return make(normalizeOs(platform.os), architecture, variant, platform.osVersion,
		platform.osFeatures && [...new Set(platform.osFeatures)].sort());
}

/**
 * Reads `os[(version[+feature...])][/arch[/variant]]`; a lone word may be an OS or an architecture.
 * @throws Error with containerd's text when the specifier is malformed.
 */
export function parsePlatform(specifier: string): Platform {
	const quoted = goQuote(specifier);
	if (specifier.includes('*')) throw new Error(`${quoted}: wildcards not yet supported: invalid argument`);
	const parts = specifier.split('/');
	const first = parts[0] ?? '';
	const match = osComponent.exec(first);
	if (!match) {
		throw new Error(`${goQuote(first)} is an invalid OS component of ${quoted}: OSAndVersion specifier component must match ${goQuote(osPattern)}: invalid argument`);
	}
	for (const part of parts.slice(1)) {
		if (!component.test(part)) {
			throw new Error(`${goQuote(part)} is an invalid component of ${quoted}: platform specifier component must match ${goQuote(componentPattern)}: invalid argument`);
		}
	}
	const name = normalizeOs(match[1] ?? '');
	const osVersion = decodeURIComponent(match[2] ?? '');
	const osFeatures = (match[3] ?? '').split('+').filter((feature) => feature !== '').map(decodeURIComponent);
	const host = hostPlatform();
	switch (parts.length) {
		case 1: {
			if (knownOs.has(name)) return make(name, host.architecture, host.architecture === 'arm' && host.variant !== 'v7' ? host.variant ?? '' : '', osVersion, osFeatures);
			const [architecture, variant] = normalizeArch(first, '');
			if (knownArch.has(architecture)) return make(host.os, architecture, architecture === 'arm' && variant === 'v7' ? '' : variant, osVersion, osFeatures);
			throw new Error(`${quoted}: unknown operating system or architecture: invalid argument`);
		}
		case 2: {
			const [architecture, variant] = normalizeArch(parts[1] ?? '', '');
			return make(name, architecture, architecture === 'arm' && variant === 'v7' ? '' : variant, osVersion, osFeatures);
		}
		case 3: {
			const [architecture, variant] = normalizeArch(parts[1] ?? '', parts[2] ?? '');
			return make(name, architecture, architecture === 'arm64' && variant === '' ? 'v8' : variant, osVersion, osFeatures);
		}
		default:
			throw new Error(`${quoted}: cannot parse platform specifier: invalid argument`);
	}
}

function encodeOsOption(value: string): string {
	return value.replace(/[%+()/]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** `os/arch[/variant]`, without the OS version. */
export function formatPlatform(platform: Platform): string {
	if (platform.os === '') return 'unknown';
	return [platform.os, platform.architecture, platform.variant ?? ''].filter((part) => part !== '').join('/');
}

/** `os[(version[+feature...])]/arch[/variant]`. */
export function formatPlatformFull(platform: Platform): string {
	const features = [...new Set(platform.osFeatures ?? [])].filter((feature) => feature !== '').sort().map((feature) => `+${encodeOsOption(feature)}`).join('');
	const options = encodeOsOption(platform.osVersion ?? '') + features;
	return formatPlatform(options === '' || platform.os === '' ? platform : { ...platform, os: `${platform.os}(${options})` });
}

export function samePlatform(a: Platform, b: Platform): boolean {
	return formatPlatformFull(a) === formatPlatformFull(b);
}
