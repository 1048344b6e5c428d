// Sizes as BuildKit shows them.

const units = ['kB', 'MB', 'GB', 'TB', 'PB'];

/** `123B`, `1.23kB`, `45.60MB`: decimal units, two places. */
export function formatBytes(bytes: number): string {
	if (bytes < 1000) return `${bytes}B`;
	let value = bytes;
	let unit = -1;
	while (value >= 1000 && unit < units.length - 1) {
		value /= 1000;
		unit++;
	}
	return `${value.toFixed(2)}${units[unit] ?? ''}`;
}

/** `1.00kB / 2.00kB`, `1.00kB` for an unknown total, '' for nothing yet. */
export function formatTransfer(current: number, total: number): string {
	if (total !== 0) return `${formatBytes(current)} / ${formatBytes(total)}`;
	return current === 0 ? '' : formatBytes(current);
}
