// A layer report as lines for people.
import type { LayerReport } from '../native/layers.js';

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** Bytes with their exact number and, from 1 KiB on, a rounded one. */
export function formatBytes(bytes: number): string {
	if (bytes < 1024) return `${bytes} B`;
	const power = Math.min(Math.floor(Math.log2(bytes) / 10), units.length - 1);
	return `${bytes} B (${(bytes / 1024 ** power).toFixed(1)} ${units[power]})`;
}

function flagNames(flags: string, names: Readonly<Record<number, string>>): string {
	const value = BigInt(flags);
	const set = Object.entries(names).filter(([bit]) => (value >> BigInt(bit)) & 1n).map(([, name]) => name);
	return set.length === 0 ? flags : `${flags} (${set.join(', ')})`;
}

const zfileFlags = { 0: 'header', 1: 'data file', 2: 'sealed', 3: 'completed', 4: 'digest' };
const lsmtFlags = { 0: 'header', 1: 'data file', 2: 'sealed', 4: 'sparse' };

/** One line a fact, two columns; problems last. */
export function formatLayerReport(name: string, report: LayerReport): string {
	const rows: [string, string][] = [['size', formatBytes(report.size)], ['kind', report.kind]];
	const { tar, zfile, lsmt, turbo } = report;
	if (tar) rows.push(['tar payload', `at ${tar.payloadOffset}, ${formatBytes(tar.payloadSize)}`]);
	if (zfile) {
		const ratio = zfile.originalSize === 0 ? '' : `, ${((100 * zfile.storedSize) / zfile.originalSize).toFixed(1)} % of ${formatBytes(zfile.originalSize)}`;
		rows.push(
			['zfile', `${zfile.algorithm}, ${zfile.blocks} blocks of ${zfile.blockSize} B${ratio}`],
			['zfile header', flagNames(zfile.headerFlags, zfileFlags)],
			['zfile trailer', flagNames(zfile.trailerFlags, zfileFlags)],
			['zfile index', `at ${zfile.indexOffset}`],
			['checksums', `${zfile.blockChecksums ? 'every block' : 'no blocks'}, ${zfile.digests ? 'header, trailer and index' : 'neither header, trailer nor index'}`],
		);
	}
	if (lsmt) {
		rows.push(
			['uuid', lsmt.uuid],
			['parent uuid', lsmt.parentUuid],
			['virtual size', lsmt.virtualSize === 0 ? "that of the layers below" : formatBytes(lsmt.virtualSize)],
			['lsmt header', flagNames(lsmt.headerFlags, lsmtFlags)],
		);
		if (report.kind === 'sealed' || report.kind === 'turbo') {
			rows.push(['lsmt trailer', flagNames(lsmt.trailerFlags, lsmtFlags)], ['lsmt index', `at ${lsmt.indexOffset}, ${lsmt.records} records, ${lsmt.padding} of them padding`]);
		}
		rows.push(
			['segments', `${lsmt.segments}, ${lsmt.zeroed} of them zeroed`],
			['data', formatBytes(lsmt.dataBytes)],
			['zeroed', formatBytes(lsmt.zeroedBytes)],
		);
		if (lsmt.userTag !== '') rows.push(['user tag', JSON.stringify(lsmt.userTag)]);
	}
	if (turbo) {
		rows.push(
			['target', turbo.gzip ? `gzip, ${formatBytes(turbo.targetSize)} of ${formatBytes(turbo.plainSize)}` : `tar, ${formatBytes(turbo.targetSize)}`],
			['read from it', formatBytes(turbo.targetBytes)],
		);
		if (turbo.gzip) rows.push(['gzip index', `${turbo.indexEntries} entries`]);
	}
	const lines = rows.map(([key, value]) => `  ${key.padEnd(14)} ${value}`);
	const verdict = report.problems.length === 0 ? ['  no problems'] : report.problems.map((problem) => `  PROBLEM        ${problem}`);
	return [name, ...lines, ...verdict].join('\n');
}
