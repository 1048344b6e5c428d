// "did you mean": the known word a mistyped one is nearest to.

/** Row of the distance table, kept between calls: one suggestion asks for hundreds of distances. */
let row = new Uint16Array(64);

/** Levenshtein distance, in UTF-16 units. */
function distance(a: string, b: string): number {
	if (row.length <= b.length) row = new Uint16Array(b.length + 1);
	for (let j = 0; j <= b.length; j++) row[j] = j;
	for (let i = 1; i <= a.length; i++) {
		let diagonal = i - 1;
		row[0] = i;
		for (let j = 1; j <= b.length; j++) {
			const above = row[j] ?? 0;
			const substitution = diagonal + (a[i - 1] === b[j - 1] ? 0 : 1);
			row[j] = Math.min(substitution, above + 1, (row[j - 1] ?? 0) + 1);
			diagonal = above;
		}
	}
	return row[b.length] ?? 0;
}

function sumOfUnits(text: string): number {
	let sum = 0;
	for (let i = 0; i < text.length; i++) sum += text.charCodeAt(i);
	return sum;
}

/** Whether two words differ only in the order of their letters, which is how most are mistyped. */
function isAnagram(a: string, b: string): boolean {
	return a.length === b.length && sumOfUnits(a) === sumOfUnits(b) && [...a].sort().join('') === [...b].sort().join('');
}

/** The option fewer than three edits away from `value`; undefined when there is none or `value` is itself an option. */
export function suggest(value: string, options: Iterable<string>, caseSensitive: boolean): string | undefined {
	const wanted = caseSensitive ? value : value.toLowerCase();
	let match: string | undefined;
	let best = 3;
	for (const name of options) {
		const option = caseSensitive ? name : name.toLowerCase();
		if (option === wanted) return undefined;
		const edits = Math.abs(option.length - wanted.length) <= best ? distance(wanted, option) : best + 1;
		if (edits > best || (edits === best && !(best < 3 && isAnagram(option, wanted)))) continue;
		best = edits;
		match = caseSensitive || value === value.toLowerCase() ? option : value === value.toUpperCase() ? option.toUpperCase() : option;
	}
	return match || undefined;
}

/** `message`, with a suggestion at the end when there is one. */
export function withSuggestion(message: string, value: string, options: Iterable<string>, caseSensitive: boolean): string {
	const match = suggest(value, options, caseSensitive);
	return match === undefined ? message : `${message} (did you mean ${match}?)`;
}
