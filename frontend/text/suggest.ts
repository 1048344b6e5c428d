// "did you mean": the known word a mistyped one is nearest to.

/** Levenshtein distance, in characters. */
function distance(a: string, b: string): number {
	let previous = Array.from({ length: b.length + 1 }, (_, i) => i);
	for (let i = 1; i <= a.length; i++) {
		const current = [i];
		for (let j = 1; j <= b.length; j++) {
			const substitution = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
			current.push(Math.min(substitution, (previous[j] ?? 0) + 1, (current[j - 1] ?? 0) + 1));
		}
		previous = current;
	}
	return previous[b.length] ?? 0;
}

/** Whether two words differ only in the order of their letters, which is how most are mistyped. */
function isAnagram(a: string, b: string): boolean {
	return a.length === b.length && [...a].sort().join('') === [...b].sort().join('');
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
