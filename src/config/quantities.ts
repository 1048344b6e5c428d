// Amounts in buildkitd.toml: disk space and durations, as numbers or as text (cmd/buildkitd/config/gcpolicy.go).

/** So many bytes, or percent of the disk. */
export type DiskSpace = { readonly bytes: number } | { readonly percent: number };

const units: Readonly<Record<string, number>> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40, p: 2 ** 50 };
const nanosecondUnits: Readonly<Record<string, number>> = { ns: 1e-6, us: 1e-3, µs: 1e-3, ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** `10%`, `512MB` (units of 1024, as docker counts), or a number of bytes; undefined when it is none of these. */
export function parseDiskSpace(value: unknown): DiskSpace | undefined {
	if (typeof value === 'number' && value >= 0) return { bytes: value };
	if (typeof value !== 'string') return undefined;
	const [, percent] = /^(\d+)%$/.exec(value) ?? [];
	if (percent !== undefined) return { percent: Number(percent) };
	const [, number, unit] = /^(\d+(?:\.\d*)?) ?([kmgtp]?)(?:i?b)?$/i.exec(value) ?? [];
	const factor = units[unit?.toLowerCase() ?? ''];
	return number === undefined || factor === undefined ? undefined : { bytes: Math.floor(Number(number) * factor) };
}

/** `1h30m` as Go writes durations, or a number of seconds; milliseconds, or undefined when it is neither. */
export function parseDuration(value: unknown): number | undefined {
	if (typeof value === 'number' && value >= 0) return value * 1000;
	if (typeof value !== 'string') return undefined;
	if (/^\d+$/.test(value)) return Number(value) * 1000;
	if (!/^(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+$/.test(value)) return undefined;
	return [...value.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g)].reduce((sum, [, number, unit]) => sum + Number(number) * (nanosecondUnits[unit ?? ''] ?? 0), 0);
}

/** Bytes of a disk of `total` bytes. Percentages are rounded up to whole GB, as buildkitd does. */
export function bytesOf(space: DiskSpace, total: number): number {
	if ('bytes' in space) return space.bytes;
	if (space.percent === 0) return 0;
	return (Math.floor((total * space.percent) / 100 / 2 ** 30) + 1) * 1e9;
}
