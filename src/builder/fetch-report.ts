// What a build fetched of the layers it reads lazily: as its exporter response has it, and in words.
import type { ExplainedReads, FetchedPart } from '../device/types.js';

interface FetchedLayer {
	/** Bytes. */
	readonly fetched: number;
	/** Of the layer's blob, bytes. */
	readonly size: number;
	readonly share: number;
	/** The files behind the fetched bytes, when they are wanted. */
	readonly files?: readonly FetchedPart[];
}

export type FetchReport = ReadonlyMap<string, FetchedLayer>;

/** Files of a layer that are named in progress; the exporter response has all. */
const maxShownFiles = 20;

/** `sizes`: of all layers read lazily, by digest. With `explained` its sums are what was fetched. */
export function fetchReport(sizes: ReadonlyMap<string, number>, fetched: Readonly<Record<string, number>>, explained?: ExplainedReads): FetchReport {
	return new Map([...sizes].map(([digest, size]) => {
		const files = explained && (explained[digest] ?? []);
		const bytes = files ? files.reduce((sum, part) => sum + part.bytes, 0) : fetched[digest] ?? 0;
		return [digest, { fetched: bytes, size, share: size === 0 ? 0 : Math.round((bytes / size) * 10_000) / 10_000, ...(files && { files }) }];
	}));
}

/** `obd.fetched` in base64, as BuildKit has values that are JSON; nothing when no layer is lazy. */
export function fetchMetadata(report: FetchReport): Record<string, string> {
	if (report.size === 0) return {};
	return { 'obd.fetched': Buffer.from(JSON.stringify(Object.fromEntries(report))).toString('base64') };
}

/** A line a layer, and below it one a file. */
export function describeFetches(report: FetchReport): string {
	if (report.size === 0) return 'No layer was read from a registry block by block: there is nothing to explain.\n';
	return [...report].map(([digest, { fetched, size, share, files = [] }]) => {
		const rest = files.slice(maxShownFiles);
		const lines = files.slice(0, maxShownFiles).map(({ path, bytes }) => `${String(bytes).padStart(12)} B  ${printable(path)}`);
		if (rest.length > 0) lines.push(`${String(rest.reduce((sum, { bytes }) => sum + bytes, 0)).padStart(12)} B  in ${rest.length} more`);
		return [`${digest}: ${fetched} B of ${size} B (${(share * 100).toFixed(1)} %) fetched`, ...lines].map((line) => `${line}\n`).join('');
	}).join('');
}

/** Names of files may hold anything. */
function printable(path: string): string {
	return /^[^\p{Cc}]*$/u.test(path) ? path : JSON.stringify(path);
}
