// Values written as Go's fmt and strconv write them: BuildKit's messages and histories are full of them.
import { goQuote as quote } from '../../src/llb/index.js';

export { quote };

/** %q of a list of strings. */
export function quoteList(list: readonly string[]): string {
	return `[${list.map(quote).join(' ')}]`;
}

/** %v of a list of strings. */
export function formatList(list: readonly string[]): string {
	return `[${list.join(' ')}]`;
}

/** strconv.ParseBool; undefined when it is none. */
export function parseBool(text: string): boolean | undefined {
	if (['1', 't', 'T', 'true', 'TRUE', 'True'].includes(text)) return true;
	if (['0', 'f', 'F', 'false', 'FALSE', 'False'].includes(text)) return false;
	return undefined;
}

/**
 * strconv.ParseInt / ParseUint of base 10 or 8.
 * @throws Error with strconv's text.
 */
export function parseInteger(text: string, options: { base?: 8 | 10; bits?: number; unsigned?: boolean } = {}): bigint {
	const { base = 10, bits = 64, unsigned = false } = options;
	const name = unsigned ? 'ParseUint' : 'ParseInt';
	const digits = base === 8 ? /^[0-7]+$/ : /^[0-9]+$/;
	const sign = !unsigned && /^[+-]/.test(text) ? text[0] : '';
	const rest = sign ? text.slice(1) : text;
	if (!digits.test(rest)) throw new Error(`strconv.${name}: parsing ${quote(text)}: invalid syntax`);
	const magnitude = BigInt(base === 8 ? `0o${rest}` : rest);
	const value = sign === '-' ? -magnitude : magnitude;
	const max = 2n ** BigInt(unsigned ? bits : bits - 1);
	if (value >= max || value < (unsigned ? 0n : -max)) throw new Error(`strconv.${name}: parsing ${quote(text)}: value out of range`);
	return value;
}
