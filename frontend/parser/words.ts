// How the text of an instruction falls apart: its name and flags, its words, a JSON array.
import { isSpace, trimLeft, trimSpace } from '../text/unicode.js';

/** BuildKit splits at these; a no-break space or a newline is part of a word. */
export const whitespace = /[\t\v\f\r ]+/;

export interface SplitCommand {
	readonly name: string;
	readonly flags: readonly string[];
	readonly args: string;
}

/** The name of an instruction, its flags, and the rest. */
export function splitCommand(line: string, escape: string): SplitCommand {
	const trimmed = trimSpace(line);
	const gap = whitespace.exec(trimmed);
	if (!gap) return { name: trimmed, flags: [], args: '' };
	const { rest, flags } = splitFlags(trimmed.slice(gap.index + gap[0].length), escape);
	return { name: trimmed.slice(0, gap.index), flags, args: trimSpace(rest) };
}

/**
 * Takes the leading words that begin with `--`. BuildKit reads bytes here, not characters: a flag that is
 * not ASCII comes out as its UTF-8 bytes taken for characters.
 */
function splitFlags(text: string, escape: string): { rest: string; flags: string[] } {
	if (!/^[\s\u0085]*--/.test(text)) return { rest: trimLeft(text), flags: [] };
	const bytes = Buffer.from(text).toString('latin1');
	const flags: string[] = [];
	const restFrom = (index: number): string => Buffer.from(bytes.slice(index), 'latin1').toString();
	let pos = 0;
	while (pos < bytes.length) {
		if (isSpace(bytes[pos] as string)) {
			pos++;
			continue;
		}
		if (!bytes.startsWith('--', pos)) return { rest: restFrom(pos), flags };
		const word = readFlag(bytes, pos, escape);
		pos = word.end;
		if (word.text === '--' && pos < bytes.length) return { rest: restFrom(pos), flags };
		if (word.text !== '--' && (word.text !== '' || word.quoted)) flags.push(word.text);
	}
	return { rest: '', flags };
}

/** One word from `start` up to the space after it, quotes and escapes taken out. */
function readFlag(bytes: string, start: number, escape: string): { text: string; end: number; quoted: boolean } {
	let text = '';
	let quote = '';
	let quoted = false;
	let pos = start;
	for (; pos < bytes.length; pos++) {
		let char = bytes[pos] as string;
		if (quote === '') {
			if (isSpace(char)) break;
			if (char === '\'' || char === '"') {
				quote = char;
				quoted = true;
				continue;
			}
		} else if (char === quote) {
			quote = '';
			continue;
		}
		if (char === escape) {
			if (pos + 1 === bytes.length) {
				quote = '';
				continue;
			}
			char = bytes[++pos] as string;
		}
		text += char;
	}
	return { text, end: pos, quoted };
}

/** Words separated by space, quotes and escapes left in: they are taken out when variables are expanded. */
export function splitWords(text: string, escape: string): string[] {
	const words: string[] = [];
	let word = '';
	let quote = '';
	let started = false;
	const flush = (): void => {
		if (started) words.push(word);
		word = '';
		started = false;
	};
	for (let pos = 0; pos < text.length; pos++) {
		const char = text[pos] as string;
		if (quote === '' && isSpace(char)) {
			flush();
			continue;
		}
		if (quote === '' && (char === '\'' || char === '"')) {
			quote = char;
			started = true;
			word += char;
		} else if (char === escape && quote !== '\'') {
			// One at the very end is dropped; else it and what it escapes are taken as they are.
			if (pos + 1 === text.length) quote = '';
			else word += char + (text[++pos] as string);
		} else {
			if (char === quote) quote = '';
			word += char;
		}
		started ||= word !== '';
	}
	flush();
	return words;
}

/** A JSON array that holds something other than strings. */
export class JsonMemberError extends Error {
	constructor() {
		super('when using JSON array syntax, arrays must be comprised of strings only');
	}
}

/**
 * The strings of a JSON array; undefined when `text` is none.
 * @throws JsonMemberError when it is one, but not of strings.
 */
export function parseJsonArray(text: string): string[] | undefined {
	const trimmed = trimLeft(text);
	if (!trimmed.startsWith('[')) return undefined;
	let values: unknown;
	try {
		values = JSON.parse(trimmed);
	} catch {
		return undefined;
	}
	return (values as unknown[]).map((value) => {
		if (typeof value !== 'string') throw new JsonMemberError();
		// Go has no lone surrogates.
		return value.replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, '\ufffd');
	});
}
