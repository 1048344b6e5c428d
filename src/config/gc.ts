// Rules of garbage collection: which part of the build cache may stay (cmd/buildkitd/config/gcpolicy.go).
import { bytesOf, type DiskSpace } from './quantities.js';

export interface GcPolicy {
	/** Internal records and frontends' too. */
	readonly all: boolean;
	/** As in `buildctl prune --filter`; one of them has to match. */
	readonly filters: readonly string[];
	/** Milliseconds; what was used since stays. */
	readonly keepDuration: number;
	/** Bytes that may always stay; 0: none. */
	readonly reservedSpace: number;
	/** Bytes it may grow to; 0: no limit. */
	readonly maxUsedSpace: number;
	/** Bytes of the disk to leave free; 0: none. */
	readonly minFreeSpace: number;
}

export interface GcConfig {
	/** False: nothing is collected but on demand. */
	readonly enabled: boolean;
	readonly reservedSpace?: DiskSpace;
	readonly maxUsedSpace?: DiskSpace;
	readonly minFreeSpace?: DiskSpace;
	/** Replaces the default rules. */
	readonly policies?: (disk: DiskUsage) => readonly GcPolicy[];
}

export interface DiskUsage {
	/** Bytes of the file system the store is on. */
	readonly total: number;
}

const hour = 3_600_000;

/** buildkitd's own rules where the configuration has none. */
export function defaultGcPolicies(config: GcConfig, disk: DiskUsage): readonly GcPolicy[] {
	if (config.policies) return config.policies(disk);
	const limits = limitsOf(config, disk);
	const rule = { all: false, filters: [], keepDuration: 0, ...limits };
	return [
		// The most easily reproducible data, when there is more than 512 MB of it unused for two days.
		{ ...rule, filters: ['type==source.local', 'type==exec.cachemount', 'type==source.git.checkout'], keepDuration: 48 * hour, reservedSpace: 0, minFreeSpace: 0, maxUsedSpace: 512e6 },
		{ ...rule, keepDuration: 60 * 24 * hour },
		rule,
		{ ...rule, all: true },
	];
}

function limitsOf(config: GcConfig, { total }: DiskUsage): Pick<GcPolicy, 'reservedSpace' | 'maxUsedSpace' | 'minFreeSpace'> {
	const { reservedSpace, maxUsedSpace, minFreeSpace } = config;
	if (reservedSpace || maxUsedSpace || minFreeSpace) {
		const bytes = (space: DiskSpace | undefined): number => (space ? bytesOf(space, total) : 0);
		return { reservedSpace: bytes(reservedSpace), maxUsedSpace: bytes(maxUsedSpace), minFreeSpace: bytes(minFreeSpace) };
	}
	return {
		reservedSpace: Math.min(bytesOf({ percent: 10 }, total), 10e9),
		maxUsedSpace: Math.min(bytesOf({ percent: 80 }, total), 100e9),
		minFreeSpace: bytesOf({ percent: 20 }, total),
	};
}
