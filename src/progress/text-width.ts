// How many columns a text takes on a terminal.

/** Code points two columns wide: East Asian wide and fullwidth, and emoji (Unicode's EastAsianWidth). */
const wide: readonly (readonly [number, number])[] = [
	[0x1100, 0x115f], [0x231a, 0x231b], [0x23e9, 0x23ec], [0x25fd, 0x25fe], [0x2614, 0x2615], [0x26a1, 0x26a1], [0x2705, 0x2705],
	[0x274c, 0x274c], [0x2728, 0x2728], [0x2e80, 0x303e], [0x3041, 0x4dbf], [0x4e00, 0xa4cf], [0xa960, 0xa97f], [0xac00, 0xd7a3],
	[0xf900, 0xfaff], [0xfe30, 0xfe6f], [0xff01, 0xff60], [0xffe0, 0xffe6], [0x1f300, 0x1f64f], [0x1f680, 0x1f6ff], [0x1f7e0, 0x1f7eb],
	[0x1f900, 0x1f9ff], [0x1fa70, 0x1faff], [0x20000, 0x3fffd],
];

/** 0 for what combines with the character before it or shows nothing, 2 for wide characters, else 1. */
export function charWidth(char: string): 0 | 1 | 2 {
	const code = char.codePointAt(0) ?? 0;
	if (code >= 0x20 && code < 0x7f) return 1;
	if (code < 0xa0 || /^[\p{Mn}\p{Me}\p{Cf}]$/u.test(char)) return 0;
	return wide.some(([first, last]) => code >= first && code <= last) ? 2 : 1;
}

export function textWidth(text: string): number {
	let width = 0;
	for (const char of text) width += charWidth(char);
	return width;
}

/** The beginning of a text that fits into so many columns. */
export function truncate(text: string, columns: number): string {
	let width = 0;
	let end = 0;
	for (const char of text) {
		width += charWidth(char);
		if (width > columns) return text.slice(0, end);
		end += char.length;
	}
	return text;
}

/** A text filled up with blanks to so many columns. */
export function pad(text: string, columns: number): string {
	return text + ' '.repeat(Math.max(columns - textWidth(text), 0));
}

/** Without anything a terminal would obey: control characters become blanks. */
export function printable(text: string): string {
	return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, ' ');
}
