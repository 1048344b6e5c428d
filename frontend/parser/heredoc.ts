// Here-documents: `<<EOF` in RUN, COPY and ADD, and the lines up to the one that says EOF.
import { emptyEnv, Lex } from '../shell/lex.js';

export interface Heredoc {
	/** The word that ends it. */
	readonly name: string;
	/** Whether variables in it are expanded: not when a part of the word was quoted. */
	readonly expand: boolean;
	/** `<<-`: leading tabs do not count. */
	readonly chomp: boolean;
	readonly content: string;
}

const pattern = /^(\d*)<<(-?)[\t\n\f\r ]*([^<]*)$/;
const plain = new Lex('\\', { skipUnsetEnv: true });
const raw = new Lex('\\', { skipUnsetEnv: true, rawQuotes: true });
const rawWords = new Lex('\\', { skipUnsetEnv: true, rawQuotes: true, rawEscapes: true });

function countQuotes(text: string): number {
	return text.split(/['"]/).length - 1;
}

/**
 * The here-document a word announces, without content; undefined when it announces none.
 * @throws Error when its quotes do not match.
 */
export function parseHeredoc(word: string): Heredoc | undefined {
	const match = pattern.exec(word);
	const rest = match?.[3];
	if (!match || !rest) return undefined;
	const { words } = plain.process(rest, emptyEnv);
	const [name] = words;
	if (words.length !== 1 || name === undefined) return undefined;
	const rawResult = raw.process(rest, emptyEnv).words;
	if (rawResult.length !== 1) throw new Error(`internal lexing of heredoc produced inconsistent results: ${rest}`);
	return { name, expand: countQuotes(name) === countQuotes(rawResult[0] ?? ''), chomp: match[2] === '-', content: '' };
}

/** The same; one that cannot be read counts as none. */
export function tryParseHeredoc(word: string): Heredoc | undefined {
	try {
		return parseHeredoc(word);
	} catch {
		return undefined;
	}
}

/** All here-documents a line announces, in order. */
export function heredocsOf(line: string): Heredoc[] {
	let words: readonly string[];
	try {
		({ words } = rawWords.process(line, emptyEnv));
	} catch {
		// Quotes that do not match are the shell's business, not ours.
		return [];
	}
	return words.flatMap((word) => parseHeredoc(word) ?? []);
}

/** Without the leading tabs `<<-` ignores. */
export function chompHeredoc(content: string): string {
	return content.replace(/^\t+/gm, '');
}
