// .dockerignore: reading it, and asking it about a path.
import { cleanPath } from '../../src/llb/index.js';
import { trimSpace } from '../text/unicode.js';

/** The patterns of an ignore file, cleaned; `!` in front of exceptions. */
export function readIgnoreFile(text: string): string[] {
	const patterns: string[] = [];
	for (const line of text.replace(/^\ufeff/, '').split('\n')) {
		if (line.startsWith('#')) continue;
		const pattern = trimSpace(line);
		if (pattern === '') continue;
		const exception = pattern.startsWith('!');
		patterns.push(`${exception ? '!' : ''}${normalize(exception ? trimSpace(pattern.slice(1)) : pattern)}`);
	}
	return patterns;
}

function normalize(pattern: string): string {
	if (pattern === '') return '';
	const clean = cleanPath(pattern);
	return clean.length > 1 && clean.startsWith('/') ? clean.slice(1) : clean;
}

interface Pattern {
	readonly text: string;
	readonly exception: boolean;
	matches(path: string): boolean;
}

/** Go's filepath.Match finds these wrong. */
function checkSyntax(pattern: string): void {
	for (let i = 0; i < pattern.length; i++) {
		if (pattern[i] === '\\') {
			if (++i === pattern.length) throw new Error('syntax error in pattern');
		} else if (pattern[i] === '[') {
			i = classEnd(pattern, i + 1);
		}
	}
}

/** Index of the `]` that ends a character class beginning at `start`. */
function classEnd(pattern: string, start: number): number {
	let i = pattern[start] === '^' ? start + 1 : start;
	for (let first = true; ; first = false) {
		if (pattern[i] === ']' && !first) return i;
		i = classChar(pattern, i);
		if (pattern[i] === '-') i = classChar(pattern, i + 1);
	}
}

function classChar(pattern: string, index: number): number {
	const i = pattern[index] === '\\' ? index + 1 : index;
	if (i >= pattern.length || (i === index && (pattern[i] === '-' || pattern[i] === ']'))) throw new Error('syntax error in pattern');
	if (i + 1 >= pattern.length) throw new Error('syntax error in pattern');
	return i + 1;
}

/** `**` matches any number of directories, `*` and `?` anything but a slash. */
function compile(pattern: string): RegExp {
	let out = '^';
	for (let i = 0; i < pattern.length; i++) {
		const char = pattern[i] as string;
		if (char === '*' && pattern[i + 1] === '*') {
			i++;
			if (pattern[i + 1] === '/') i++;
			out += i + 1 >= pattern.length ? '.*' : '(.*/)?';
		} else if (char === '*') {
			out += '[^/]*';
		} else if (char === '?') {
			out += '[^/]';
		} else if (char === '\\' && i + 1 < pattern.length) {
			out += (pattern[++i] as string).replace(/[^A-Za-z0-9]/, '\\$&');
		} else {
			out += char.replace(/[.+()|{}$\\/]/, '\\$&');
		}
	}
	return new RegExp(`${out}$`, 's');
}

/** A list of patterns; a later one wins. */
export class IgnoreMatcher {
	readonly patterns: readonly Pattern[];

	/** @throws Error with patternmatcher's text when a pattern is malformed. */
	constructor(patterns: readonly string[]) {
		this.patterns = patterns.flatMap((line) => {
			const trimmed = trimSpace(line);
			if (trimmed === '') return [];
			const clean = cleanPath(trimmed);
			const exception = clean.startsWith('!');
			if (clean === '!') throw new Error('illegal exclusion pattern: "!"');
			const text = exception ? clean.slice(1) : clean;
			checkSyntax(text);
			let regex: RegExp | undefined;
			return [{ text, exception, matches: (path: string) => (regex ??= compile(text)).test(path) }];
		});
	}

	get hasExceptions(): boolean {
		return this.patterns.some((pattern) => pattern.exception);
	}

	/** Whether the path or a directory above it is ignored. */
	ignores(path: string): boolean {
		const parts = path.split('/');
		const candidates = parts.map((_, i) => parts.slice(0, i + 1).join('/')).reverse();
		let ignored = false;
		for (const pattern of this.patterns) {
			if (pattern.exception !== ignored) continue;
			if (candidates.some((candidate) => pattern.matches(candidate))) ignored = !pattern.exception;
		}
		return ignored;
	}
}
