// Which image of a multi-platform index suits a wanted platform, and which suits best: containerd's
// "Only" matcher (arm/v7 also takes arm/v6 and arm/v5, amd64 takes 386 as a last resort, ...).
import { normalizePlatform, type Platform } from './platform.js';

/** For arm64 v9.n: v9.0 is at least v8.5. */
const arm64V9Base = 5;
const lastArm64Minor = { 8: 9, 9: 7 } as const;

/** The platforms that can run where `wanted` can, best first; the first is `wanted` itself. */
export function platformVector(wanted: Platform): Platform[] {
	const platform = normalizePlatform(wanted);
	switch (platform.architecture) {
		case 'amd64': return [
			...downTo(platform, versionOf(platform, 1), 1),
			{ ...withVariant(platform, ''), architecture: '386' },
		];
		case 'arm': return downTo(platform, versionOf(platform, 0), 5);
		case 'arm64': return arm64Vector(platform);
		default: return [platform];
	}
}

function versionOf(platform: Platform, fallback: number): number {
	const match = /^v?([0-9]+)$/.exec(platform.variant ?? '');
	return match === null ? fallback : Number(match[1]);
}

function withVariant(platform: Platform, variant: string): Platform {
	const { variant: _, ...rest } = platform;
	return normalizePlatform(variant === '' ? rest : { ...rest, variant });
}

/** The platform itself, then the same architecture's variants below it. */
function downTo(platform: Platform, version: number, lowest: number): Platform[] {
	const vector = [platform];
	for (let lower = Math.min(version, 64) - 1; lower >= lowest; lower--) vector.push(withVariant(platform, `v${lower}`));
	return vector;
}

function arm64Vector(platform: Platform): Platform[] {
	const variants = arm64Variants(platform.variant ?? 'v8');
	if (variants.length === 0) return [platform];
	return [
		...variants.map((variant) => withVariant(platform, variant)),
		...platformVector({ ...platform, architecture: 'arm', variant: 'v8' }),
	];
}

function arm64Variants(variant: string): string[] {
	const match = /^v([89])(?:\.([0-9]))?$/.exec(variant);
	if (match === null) return [];
	const major = match[1] === '9' ? 9 : 8;
	const minor = Number(match[2] ?? 0);
	if (minor > lastArm64Minor[major]) return [];
	const down = (m: number, from: number) => Array.from({ length: from + 1 }, (_, i) => (from === i ? `v${m}` : `v${m}.${from - i}`));
	return major === 8 ? down(8, minor) : [...down(9, minor), ...down(8, Math.min(minor + arm64V9Base, lastArm64Minor[8]))];
}

function equalPlatform(wanted: Platform, offered: Platform): boolean {
	const other = normalizePlatform(offered);
	return wanted.os === other.os
		&& wanted.architecture === other.architecture
		&& (wanted.variant ?? '') === (other.variant ?? '')
		&& (other.osFeatures ?? []).every((feature) => (wanted.osFeatures ?? []).includes(feature))
		&& matchWindowsVersion(wanted, other);
}

/** Windows containers run on a host of the same build; other systems have no such tie. */
function matchWindowsVersion(wanted: Platform, offered: Platform): boolean {
	if (wanted.os !== 'windows' || wanted.osVersion === undefined || offered.osVersion === undefined) return true;
	const build = (version: string) => version.split('.').slice(0, 3).join('.');
	return build(wanted.osVersion) === build(offered.osVersion);
}

/** Position of `offered` in what `wanted` accepts: 0 is the best, -1 no match. */
export function platformRank(wanted: Platform, offered: Platform): number {
	return platformVector(wanted).findIndex((candidate) => equalPlatform(candidate, offered));
}

export function matchesPlatform(wanted: Platform, offered: Platform): boolean {
	return platformRank(wanted, offered) !== -1;
}

/** Those of `items` that suit, best first, equal ones in the given order. */
export function sortByPlatform<T>(wanted: Platform, items: readonly T[], platformOf: (item: T) => Platform): T[] {
	return items
		.map((item) => ({ item, rank: platformRank(wanted, platformOf(item)) }))
		.filter(({ rank }) => rank !== -1)
		.sort((a, b) => a.rank - b.rank)
		.map(({ item }) => item);
}
