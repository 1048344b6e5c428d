// When something was at work: a vertex may start and stop several times.

export interface Interval {
	/** Milliseconds since the epoch. */
	readonly start: number;
	/** Absent while it runs. */
	readonly stop?: number;
}

/** Intervals in order of their start, those that overlap or touch made one. */
export function mergeIntervals(intervals: Iterable<Interval>): readonly Interval[] {
	const merged: Interval[] = [];
	for (const next of [...intervals].sort((a, b) => a.start - b.start)) {
		const last = merged.at(-1);
		if (!last || (last.stop !== undefined && last.stop < next.start)) merged.push(next);
		else if (last.stop !== undefined && (next.stop === undefined || next.stop > last.stop)) merged[merged.length - 1] = { ...next, start: last.start };
	}
	return merged;
}

/** Seconds of work; what still runs counts until `now`. */
export function seconds(intervals: readonly Interval[], now: number): number {
	return intervals.reduce((sum, { start, stop = now }) => sum + Math.max(stop - start, 0), 0) / 1000;
}
