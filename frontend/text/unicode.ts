// Classes of characters as Go's package unicode has them, which decide what BuildKit takes for a space or
// a letter. JavaScript's own trim() and \s differ (U+0085, U+FEFF).

const space = /[\t\n\v\f\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;
const letter = /\p{L}/u;
const digit = /\p{Nd}/u;

/** unicode.IsSpace of the first character. */
export function isSpace(char: string): boolean {
	const code = char.charCodeAt(0);
	return code < 0x80 ? code === 32 || (code >= 9 && code <= 13) : space.test(char);
}

export function isLetter(char: string): boolean {
	return letter.test(char);
}

export function isDigit(char: string): boolean {
	return digit.test(char);
}

/** strings.TrimLeftFunc(text, unicode.IsSpace) */
export function trimLeft(text: string): string {
	let start = 0;
	while (start < text.length && isSpace(text[start] as string)) start++;
	return start === 0 ? text : text.slice(start);
}

/** strings.TrimSpace */
export function trimSpace(text: string): string {
	let end = text.length;
	while (end > 0 && isSpace(text[end - 1] as string)) end--;
	return trimLeft(text.slice(0, end));
}
