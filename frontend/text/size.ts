// Sizes with units (docker/go-units).
import { quote } from './format.js';

const factors: Readonly<Record<string, number>> = { k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40, p: 2 ** 50 };

/**
 * `64m`, `1.5GiB`: bytes, in powers of 1024.
 * @throws Error when it is no size.
 */
export function parseBytes(text: string): number {
	const last = Math.max(...[...'0123456789. '].map((char) => text.lastIndexOf(char)));
	if (last < 0) throw new Error(`invalid size: '${text}'`);
	const number = text[last] === ' ' ? text.slice(0, last) : text.slice(0, last + 1);
	const suffix = text.slice(last + 1).toLowerCase();
	const size = Number(number);
	if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(number)) throw new Error(`strconv.ParseFloat: parsing ${quote(number)}: invalid syntax`);
	if (size < 0) throw new Error(`invalid size: '${text}'`);
	if (suffix === '' || suffix === 'b') return Math.trunc(size);
	const match = /^([kmgtp])(?:b|ib)?$/.exec(suffix);
	const factor = match && factors[match[1] ?? ''];
	if (!factor) throw new Error(`invalid suffix: '${suffix}'`);
	return Math.trunc(size * factor);
}
