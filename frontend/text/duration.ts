// time.Duration: `1h2m3.5s` to nanoseconds and back.
import { quote } from './format.js';

const units: ReadonlyMap<string, number> = new Map([
	['ns', 1], ['us', 1e3], ['\u00b5s', 1e3], ['\u03bcs', 1e3], ['ms', 1e6], ['s', 1e9], ['m', 60e9], ['h', 3600e9],
]);

/**
 * time.ParseDuration, in nanoseconds.
 * @throws Error with Go's text.
 */
export function parseDuration(text: string): number {
	const invalid = (): Error => new Error(`time: invalid duration ${quote(text)}`);
	let rest = text;
	const negative = rest.startsWith('-');
	if (/^[+-]/.test(rest)) rest = rest.slice(1);
	if (rest === '0') return 0;
	if (rest === '') throw invalid();
	let total = 0;
	while (rest !== '') {
		const number = /^(\d*)(?:\.(\d*))?/.exec(rest);
		const [matched = '', whole = '', fraction = ''] = number ?? [];
		if (whole === '' && fraction === '') throw invalid();
		rest = rest.slice(matched.length);
		const unit = /^[^.0-9]*/.exec(rest)?.[0] ?? '';
		if (unit === '') throw new Error(`time: missing unit in duration ${quote(text)}`);
		const size = units.get(unit);
		if (size === undefined) throw new Error(`time: unknown unit ${quote(unit)} in duration ${quote(text)}`);
		total += Number(whole) * size + (fraction === '' ? 0 : Math.floor(Number(`0.${fraction}`) * size));
		if (total > 2 ** 63) throw invalid();
		rest = rest.slice(unit.length);
	}
	return negative ? -total : total;
}

/** Duration.String: `5m0s`, `1.5ms`, `0s`. */
export function formatDuration(nanoseconds: number): string {
	if (nanoseconds === 0) return '0s';
	const sign = nanoseconds < 0 ? '-' : '';
	const value = Math.abs(nanoseconds);
	const trim = (number: number, size: number): string => {
		const digits = String(Math.round(size)).length - 1;
		const fraction = String(number % size).padStart(digits, '0').replace(/0+$/, '');
		return `${Math.floor(number / size)}${fraction === '' ? '' : `.${fraction}`}`;
	};
	if (value < 1e3) return `${sign}${value}ns`;
	if (value < 1e6) return `${sign}${trim(value, 1e3)}\u00b5s`;
	if (value < 1e9) return `${sign}${trim(value, 1e6)}ms`;
	const hours = Math.floor(value / 3600e9);
	const minutes = Math.floor((value % 3600e9) / 60e9);
	const seconds = trim(value % 60e9, 1e9);
	if (hours > 0) return `${sign}${hours}h${minutes}m${seconds}s`;
	return minutes > 0 ? `${sign}${minutes}m${seconds}s` : `${sign}${seconds}s`;
}
