// Shell wildcards in ${var#pattern}, ${var%pattern} and ${var/pattern/replacement}.
import { messageOf } from '../errors.js';

/** Everything but a newline, as Go's `.`; JavaScript's excludes more. */
const any = '[^\\n]';

function patternToRegex(pattern: string, greedy: boolean, anchored: boolean): RegExp {
	const chars = [...pattern];
	let out = anchored ? '^' : '';
	for (let i = 0; i < chars.length; i++) {
		let char = chars[i] as string;
		if (char === '*') {
			out += greedy ? `${any}*` : `${any}*?`;
		} else if (char === '?') {
			out += any;
		} else if (char === '\\') {
			const next = chars[i + 1];
			// The escape before } and / belongs to the ${} around the pattern.
			if (next === '}' || next === '/') continue;
			i++;
			char = next ?? '\ufffd';
			if (char !== '*' && char !== '?' && char !== '\\') throw new Error(`invalid escape '\\${char}'`);
			out += `\\${char}`;
		} else {
			out += char.replace(/[[\]{}.+()|^$]/, '\\$&');
		}
	}
	return new RegExp(out, 'u');
}

function compile(pattern: string, shown: string, greedy: boolean, anchored: boolean): RegExp {
	try {
		return patternToRegex(pattern, greedy, anchored);
	} catch (error) {
		throw new Error(`invalid pattern (${shown}) in substitution: ${messageOf(error)}`, { cause: error });
	}
}

/** ${var#pattern}: `value` without the shortest (longest, when greedy) match at its start. */
export function trimPrefix(pattern: string, value: string, greedy: boolean): string {
	const match = compile(pattern, pattern, greedy, true).exec(value);
	return match ? value.slice(match[0].length) : value;
}

/** ${var%pattern}: the same at its end. A search from the left finds no shortest match there, so both are turned round. */
export function trimSuffix(pattern: string, value: string, greedy: boolean): string {
	const reversed = reversePattern(pattern);
	const match = compile(reversed, reversed, greedy, true).exec([...value].reverse().join(''));
	return match ? [...value].slice(0, [...value].length - [...match[0]].length).join('') : value;
}

/** Reversed, each escape still before what it escapes. */
function reversePattern(pattern: string): string {
	const units = pattern.match(/\\[^]|[^]/gu) ?? [];
	return units.reverse().join('');
}

/** ${var/pattern/replacement}, or with two slashes at every match. */
export function replacePattern(value: string, pattern: string, replacement: string, all: boolean): string {
	const regex = compile(pattern, pattern, true, false);
	if (!all) return value.replace(regex, () => replacement);
	let end = -1;
	return value.replace(new RegExp(regex.source, 'gu'), (match, offset: number) => {
		// Unlike JavaScript, Go takes no empty match right after another one.
		if (match === '' && offset === end) return '';
		end = offset + match.length;
		return expandTemplate(replacement, match);
	});
}

/** Go expands $0, ${name} and $$ in the replacement of ReplaceAllString; there are no groups but the whole match. */
function expandTemplate(template: string, match: string): string {
	return template.replace(/\$(?:(\$)|([\p{L}\p{Nd}_]+)|\{([\p{L}\p{Nd}_]+)\})/gu, (_, dollar?: string, name?: string, braced?: string) => {
		if (dollar !== undefined) return '$';
		return (name ?? braced) === '0' ? match : '';
	});
}
