// Values written as Go's fmt and strconv write them: BuildKit's messages and histories are full of them.
import { isPrint } from './unicode.js';

const short: Readonly<Record<string, string>> = {
	'\u0007': '\\a', '\b': '\\b', '\f': '\\f', '\n': '\\n', '\r': '\\r', '\t': '\\t', '\v': '\\v', '\\': '\\\\', '"': '\\"',
};

/** %q of a string: in double quotes, everything unprintable escaped. */
export function quote(text: string): string {
	let out = '"';
	for (const char of text) {
		const code = char.codePointAt(0) ?? 0;
		const known = short[char];
		if (known !== undefined) out += known;
		else if (isPrint(char)) out += char;
		else if (code < 0x80) out += `\\x${code.toString(16).padStart(2, '0')}`;
		else if (code < 0x10000) out += `\\u${code.toString(16).padStart(4, '0')}`;
		else out += `\\U${code.toString(16).padStart(8, '0')}`;
	}
	return `${out}"`;
}

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
