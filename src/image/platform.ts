// Platforms (os, architecture, variant): parse, format and normalize, with the rules and texts of
// containerd's "platforms" package.
import { endianness } from 'node:os';
import { readFileSync } from 'node:fs';

export interface Platform {
	readonly os: string;
	readonly architecture: string;
	readonly variant?: string;
	readonly osVersion?: string;
	readonly osFeatures?: readonly string[];
}

const knownOs = new Set(['aix', 'android', 'darwin', 'dragonfly', 'freebsd', 'hurd', 'illumos', 'ios', 'js', 'linux',
	'nacl', 'netbsd', 'openbsd', 'plan9', 'solaris', 'windows', 'zos']);
const knownArchitectures = new Set(['386', 'amd64', 'amd64p32', 'arm', 'armbe', 'arm64', 'arm64be', 'ppc64', 'ppc64le',
	'loong64', 'mips', 'mipsle', 'mips64', 'mips64le', 'mips64p32', 'mips64p32le', 'ppc', 'riscv', 'riscv64', 's390',
	's390x', 'sparc', 'sparc64', 'wasm']);

const componentPattern = '^[A-Za-z0-9_.-]+$';
const componentExpression = new RegExp(componentPattern);
const osPattern = '^([A-Za-z0-9_-]+)(?:\\(([A-Za-z0-9_.%-]*)((?:\\+[A-Za-z0-9_.%-]+)*)\\))?$';
const osExpression = new RegExp(osPattern);

/**
 * Parses `os[(version[+feature]...)]`, `arch`, `os/arch` or `os/arch/variant`; what is missing is this
 * machine's. Throws with containerd's text.
 */
export function parsePlatform(specifier: string): Platform {
	const quoted = JSON.stringify(specifier);
	if (specifier.includes('*')) throw new Error(`${quoted}: wildcards not yet supported: invalid argument`);
	const parts = specifier.split('/');
	const [first = '', ...others] = parts;
	const osMatch = osExpression.exec(first);
	if (osMatch === null) {
		throw new Error(`${JSON.stringify(first)} is an invalid OS component of ${quoted}: OSAndVersion specifier component must match ${JSON.stringify(osPattern)}: invalid argument`);
	}
	const invalid = others.slice(0, 3).find((part) => !componentExpression.test(part));
	if (invalid !== undefined) {
		throw new Error(`${JSON.stringify(invalid)} is an invalid component of ${quoted}: platform specifier component must match ${JSON.stringify(componentPattern)}: invalid argument`);
	}
	const os: OsPart = { os: normalizeOs(osMatch[1] ?? ''), ...parseOsOptions(osMatch, quoted) };
	switch (parts.length) {
		case 1: return parseSingle(first, os, quoted);
		case 2: return build(os, ...dropDefaultArm(normalizeArchitecture(parts[1] ?? '', '')));
		case 3: {
			const [architecture, variant] = normalizeArchitecture(parts[1] ?? '', parts[2] ?? '');
			return build(os, architecture, architecture === 'arm64' && variant === '' ? 'v8' : variant);
		}
		default: throw new Error(`${quoted}: cannot parse platform specifier: invalid argument`);
	}
}

type OsPart = Pick<Platform, 'os' | 'osVersion' | 'osFeatures'>;

function parseSingle(first: string, os: OsPart, quoted: string): Platform {
	if (knownOs.has(os.os)) {
		const { architecture, variant } = defaultPlatform();
		return build(os, architecture, architecture === 'arm' && variant !== 'v7' ? variant ?? '' : '');
	}
	const [architecture, variant] = dropDefaultArm(normalizeArchitecture(first, ''));
	if (knownArchitectures.has(architecture)) return build({ ...os, os: goOs() }, architecture, variant);
	throw new Error(`${quoted}: unknown operating system or architecture: invalid argument`);
}

function parseOsOptions(match: RegExpExecArray, quoted: string): { osVersion?: string; osFeatures?: string[] } {
	try {
		const osVersion = decodeURIComponent(match[2] ?? '');
		const osFeatures = (match[3] ?? '').split('+').slice(1).map((feature) => decodeURIComponent(feature));
		return { ...(osVersion !== '' && { osVersion }), ...(osFeatures.length > 0 && { osFeatures }) };
	} catch {
		throw new Error(`${quoted} has invalid OS options: invalid argument`);
	}
}

function build(os: OsPart, architecture: string, variant: string): Platform {
	return { ...os, architecture, ...(variant !== '' && { variant }) };
}

function dropDefaultArm([architecture, variant]: [string, string]): [string, string] {
	return architecture === 'arm' && variant === 'v7' ? ['arm', ''] : [architecture, variant];
}

/** `linux/arm/v7`; `unknown` without an os. */
export function formatPlatform(platform: Platform): string {
	if (platform.os === '') return 'unknown';
	return [platform.os, platform.architecture, platform.variant ?? ''].filter((part) => part !== '').join('/');
}

/** As `formatPlatform`, with the OS version and features: `windows(10.0.17763+win32k)/amd64`. */
export function formatPlatformAll(platform: Platform): string {
	const features = [...new Set(platform.osFeatures ?? [])].filter((feature) => feature !== '').sort();
	const options = encodeOption(platform.osVersion ?? '') + features.map((feature) => `+${encodeOption(feature)}`).join('');
	if (platform.os === '' || options === '') return formatPlatform(platform);
	return formatPlatform({ ...platform, os: `${platform.os}(${options})` });
}

function encodeOption(text: string): string {
	return text.replace(/[%+()/]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** The canonical form: `aarch64` is `arm64`, `arm64/v8` is `arm64`, `arm` is `arm/v7`, ... */
export function normalizePlatform(platform: Platform): Platform {
	const [architecture, variant] = normalizeArchitecture(platform.architecture, platform.variant ?? '');
	const os: OsPart = {
		os: normalizeOs(platform.os),
		...(platform.osVersion !== undefined && platform.osVersion !== '' && { osVersion: platform.osVersion }),
		...(platform.osFeatures !== undefined && platform.osFeatures.length > 0
			&& { osFeatures: [...new Set(platform.osFeatures)].sort() }),
	};
	return build(os, architecture, variant);
}

function normalizeOs(os: string): string {
	if (os === '') return goOs();
	const lower = os.toLowerCase();
	return lower === 'macos' ? 'darwin' : lower;
}

function normalizeArchitecture(architecture: string, givenVariant: string): [architecture: string, variant: string] {
	const variant = givenVariant.toLowerCase();
	switch (architecture.toLowerCase()) {
		case 'i386': return ['386', ''];
		case 'x86_64': case 'x86-64': case 'amd64': return ['amd64', variant === 'v1' ? '' : variant];
		case 'aarch64': case 'arm64':
			if (['8', 'v8', 'v8.0'].includes(variant)) return ['arm64', ''];
			return ['arm64', ['9', '9.0', 'v9.0'].includes(variant) ? 'v9' : variant];
		case 'armhf': return ['arm', 'v7'];
		case 'armel': return ['arm', 'v6'];
		case 'arm':
			if (variant === '' || variant === '7') return ['arm', 'v7'];
			return ['arm', ['5', '6', '8'].includes(variant) ? `v${variant}` : variant];
		default: return [architecture.toLowerCase(), variant];
	}
}

function goOs(): string {
	return process.platform === 'win32' ? 'windows' : process.platform;
}

function goArchitecture(): string {
	switch (process.arch) {
		case 'x64': return 'amd64';
		case 'ia32': return '386';
		case 'mipsel': return 'mipsle';
		case 'ppc64': return endianness() === 'LE' ? 'ppc64le' : 'ppc64';
		default: return process.arch;
	}
}

let machine: Platform | undefined;

/** The platform of this machine, as containerd's DefaultSpec: the variant only on ARM. */
export function defaultPlatform(): Platform {
	machine ??= detectPlatform();
	return machine;
}

function detectPlatform(): Platform {
	const architecture = goArchitecture();
	const variant = architecture === 'arm' || architecture === 'arm64' ? armVariant() : '';
	return build({ os: goOs() }, architecture, variant);
}

function armVariant(): string {
	let version = '';
	try {
		version = /^cpu architecture\s*:\s*(\S+)/im.exec(readFileSync('/proc/cpuinfo', 'latin1'))?.[1]?.toLowerCase() ?? '';
	} catch {
		// No /proc: what the Node build says is all there is.
	}
	if (version === '8' || version === 'aarch64' || process.arch === 'arm64') return 'v8';
	const number = /^[3-7]/.exec(version)?.[0];
	return number === undefined ? 'v7' : `v${number}`;
}
