// Go's %q, for messages that have to read like BuildKit's.

const named: Readonly<Record<string, string>> = {
	'\x07': '\\a', '\b': '\\b', '\f': '\\f', '\n': '\\n', '\r': '\\r', '\t': '\\t', '\v': '\\v', '"': '\\"', '\\': '\\\\',
};

/** A string as a double-quoted Go literal: what is not printable becomes an escape. */
export function goQuote(text: string): string {
	let quoted = '"';
	for (const char of text) quoted += named[char] ?? (/^[\p{L}\p{M}\p{N}\p{P}\p{S} ]$/u.test(char) ? char : escaped(char.codePointAt(0) ?? 0));
	return `${quoted}"`;
}

function escaped(code: number): string {
	if (code < 0x80) return `\\x${code.toString(16).padStart(2, '0')}`;
	if (code < 0x10000) return `\\u${code.toString(16).padStart(4, '0')}`;
	return `\\U${code.toString(16).padStart(8, '0')}`;
}
