// The variable language: quotes, escapes, $name and ${name...}, split into words or not.
import { messageOf } from '../errors.js';
import { quote } from '../text/format.js';
import { isDigit, isLetter, isSpace } from '../text/unicode.js';
import { replacePattern, trimPrefix, trimSuffix } from './pattern.js';

/** Where values of variables come from; any Map of strings is one. */
export interface Env {
	get(name: string): string | undefined;
	keys(): Iterable<string>;
}

export const emptyEnv: Env = new Map<string, string>();

export interface LexOptions {
	/** Keep quotes in the result. */
	readonly rawQuotes?: boolean;
	/** Keep escapes in the result. */
	readonly rawEscapes?: boolean;
	/** Quotes are ordinary characters. */
	readonly skipProcessQuotes?: boolean;
	/** Leave unset variables as they are written. */
	readonly skipUnsetEnv?: boolean;
}

export interface LexResult {
	readonly text: string;
	readonly words: readonly string[];
	/** Variables that were used and set, and used and not set. */
	readonly matched: ReadonlySet<string>;
	readonly unmatched: ReadonlySet<string>;
}

/** A text that cannot be expanded. */
export class ExpansionError extends Error {
	override readonly name = 'ExpansionError';

	/** `unmatched`: variables that were used and not set until there. */
	constructor(message: string, readonly unmatched: ReadonlySet<string>, options: ErrorOptions) {
		super(message, options);
	}
}

const none: ReadonlySet<string> = new Set();

export class Lex {
	constructor(readonly escape: string, readonly options: LexOptions = {}) {}

	/** The same lexer with other options. */
	with(options: LexOptions): Lex {
		return new Lex(this.escape, options);
	}

	/**
	 * Expands `source`.
	 * @throws ExpansionError `failed to process "source": why`
	 */
	process(source: string, env: Env): LexResult {
		if (!/[$'"\\`<]/.test(source)) return { text: source, words: plainWords(source), matched: none, unmatched: none };
		const run = new Run(source, env, this.escape, this.options);
		try {
			const { text, words } = run.processStopOn('', this.options.rawEscapes ?? false);
			return { text, words, matched: run.matched, unmatched: run.unmatched };
		} catch (error) {
			throw new ExpansionError(`failed to process ${quote(source)}: ${messageOf(error)}`, run.unmatched, { cause: error });
		}
	}

	/** Just the text. */
	expand(source: string, env: Env): string {
		return this.process(source, env).text;
	}
}

function plainWords(source: string): string[] {
	const words: string[] = [];
	let start = -1;
	for (let i = 0; i <= source.length; i++) {
		const gap = i === source.length || isSpace(source[i] as string);
		if (!gap && start < 0) start = i;
		if (gap && start >= 0) {
			words.push(source.slice(start, i));
			start = -1;
		}
	}
	return words;
}

/** One expansion of one text. */
class Run {
	readonly matched = new Set<string>();
	readonly unmatched = new Set<string>();
	private pos = 0;
	private rawEscapes: boolean;
	/**
	 * The word being collected. It is one for all nested expansions, as in BuildKit: what stood before a
	 * ${name:-word} is lost from the words (not from the text).
	 */
	private word = '';

	constructor(readonly source: string, readonly env: Env, readonly escape: string, readonly options: LexOptions) {
		this.rawEscapes = options.rawEscapes ?? false;
	}

	/** The next character, '' at the end. */
	private peek(): string {
		const code = this.source.codePointAt(this.pos);
		return code === undefined ? '' : String.fromCodePoint(code);
	}

	private next(): string {
		const char = this.peek();
		this.pos += char.length;
		return char;
	}

	/** Expands up to `stop` (swallowing it), or to the end when that is ''. */
	processStopOn(stop: string, rawEscapes: boolean): { text: string; words: string[] } {
		const outer = this.rawEscapes;
		this.rawEscapes = rawEscapes;
		try {
			return this.collect(stop);
		} finally {
			this.rawEscapes = outer;
		}
	}

	private collect(stop: string): { text: string; words: string[] } {
		let text = '';
		let inWord = false;
		const words: string[] = [];
		this.word = '';
		const addRaw = (piece: string): void => {
			this.word += piece;
			inWord = true;
		};
		const add = (piece: string): void => {
			for (const char of piece) {
				if (!isSpace(char)) {
					addRaw(char);
				} else if (inWord && this.word !== '') {
					words.push(this.word);
					this.word = '';
					inWord = false;
				}
			}
		};
		const finish = (): { text: string; words: string[] } => {
			if (this.word !== '') words.push(this.word);
			this.word = '';
			return { text, words };
		};
		for (let char = this.peek(); char !== ''; char = this.peek()) {
			if (char === stop) {
				this.next();
				return finish();
			}
			const special = this.special(char);
			if (special !== undefined) {
				text += special;
				if (char === '$') add(special);
				else addRaw(special);
				continue;
			}
			this.next();
			if (char !== this.escape) {
				add(char);
				text += char;
				continue;
			}
			if (this.rawEscapes) {
				addRaw(char);
				text += char;
			}
			const escaped = this.next();
			if (escaped === '') break;
			addRaw(escaped);
			text += escaped;
		}
		if (stop !== '') throw new Error(`unexpected end of statement while looking for matching ${stop}`);
		return finish();
	}

	/** What a character that is not just itself stands for. */
	private special(char: string): string | undefined {
		if (char === '$') return this.dollar();
		if (char === '<') return this.possibleHeredoc();
		if (this.options.skipProcessQuotes) return undefined;
		if (char === '\'') return this.singleQuote();
		return char === '"' ? this.doubleQuote() : undefined;
	}

	private singleQuote(): string {
		const end = this.source.indexOf('\'', this.pos + 1);
		if (end < 0) {
			this.pos = this.source.length;
			throw new Error('unexpected end of statement while looking for matching single-quote');
		}
		const quoted = this.source.slice(this.pos, end + 1);
		this.pos = end + 1;
		return this.options.rawQuotes ? quoted : quoted.slice(1, -1);
	}

	private doubleQuote(): string {
		const mark = this.options.rawQuotes ? '"' : '';
		let text = mark;
		this.next();
		for (;;) {
			const char = this.peek();
			if (char === '') throw new Error('unexpected end of statement while looking for matching double-quote');
			if (char === '$') {
				text += this.dollar();
				continue;
			}
			this.next();
			if (char === '"') return text + mark;
			if (char !== this.escape) {
				text += char;
				continue;
			}
			if (this.rawEscapes) text += char;
			const escaped = this.peek();
			if (escaped === '') continue;
			// Only these can be escaped within quotes; before anything else the escape stays.
			text += escaped === '"' || escaped === '$' || escaped === this.escape ? this.next() : char;
		}
	}

	private dollar(): string {
		this.next();
		if (this.peek() !== '{') {
			const name = this.name();
			if (name === '') return '$';
			const value = this.lookup(name);
			return value ?? (this.options.skipUnsetEnv ? `$${name}` : '');
		}
		this.next();
		const first = this.peek();
		if (first === '') throw new Error('syntax error: missing \'}\'');
		if (first === '{' || first === '}' || first === ':') throw new Error('syntax error: bad substitution');
		return this.braced(this.name());
	}

	/** The rest of ${name...}. */
	private braced(name: string): string {
		let char = this.next();
		if (char === '}') {
			const value = this.lookup(name);
			return value ?? (this.options.skipUnsetEnv ? `\${${name}}` : '');
		}
		if (char === '/') return this.replace(name);
		let modifier = char || '\ufffd';
		const nullIsUnset = char === ':';
		if (nullIsUnset) {
			char = this.next();
			modifier += char || '\ufffd';
		} else if (!/[-+?#%]/.test(char)) {
			throw new Error(`unsupported modifier (${modifier}) in substitution`);
		}
		const isPattern = char === '#' || char === '%';
		if (nullIsUnset && isPattern) throw new Error(`unsupported modifier (${modifier}) in substitution`);
		const word = this.operand('}', isPattern, 'syntax error: missing \'}\'');
		const value = this.lookup(name);
		if (this.options.skipUnsetEnv && value === undefined) return `\${${name}${modifier}${word}}`;
		const missing = value === undefined || (nullIsUnset && value === '');
		switch (char) {
			case '-': return missing ? word : value;
			case '+': return missing ? '' : word;
			case '?':
				if (missing) throw new Error(`${name}: ${word || `is not allowed to be ${value === undefined ? 'unset' : 'empty'}`}`);
				return value;
			case '#': case '%': {
				const greedy = word.startsWith(char);
				const trim = char === '#' ? trimPrefix : trimSuffix;
				return trim(greedy ? word.slice(1) : word, value ?? '', greedy);
			}
			default: throw new Error(`unsupported modifier (${modifier}) in substitution`);
		}
	}

	/** The rest of ${name/pattern/replacement}. */
	private replace(name: string): string {
		const all = this.peek() === '/';
		if (all) this.next();
		const pattern = this.operand('/', true, 'syntax error: missing \'/\' in ${}');
		const replacement = this.operand('}', true, 'syntax error: missing \'}\'');
		const value = this.lookup(name);
		if (this.options.skipUnsetEnv && value === undefined) return `\${${name}/${pattern}/${replacement}}`;
		return replacePattern(value ?? '', pattern, replacement, all);
	}

	private operand(stop: string, rawEscapes: boolean, missing: string): string {
		try {
			return this.processStopOn(stop, rawEscapes).text;
		} catch (error) {
			throw this.peek() === '' ? new Error(missing, { cause: error }) : error;
		}
	}

	/** Letters, digits and underscores; or only digits; or one special parameter. */
	private name(): string {
		let name = '';
		for (let char = this.peek(); char !== ''; char = this.peek()) {
			if (name === '' && isDigit(char)) {
				while (this.peek() !== '' && isDigit(this.peek())) name += this.next();
				return name;
			}
			if (name === '' && '@*#?-$!'.includes(char)) return this.next();
			if (char !== '_' && !isLetter(char) && !isDigit(char)) break;
			name += this.next();
		}
		return name;
	}

	/** `<<` swallows the space after it: the word that ends the document is part of the same word. */
	private possibleHeredoc(): string {
		this.next();
		if (this.peek() !== '<') return '<';
		this.next();
		let text = '<<';
		while (/^[\t\r ]$/.test(this.peek())) text += this.next();
		return text;
	}

	private lookup(name: string): string | undefined {
		const value = this.env.get(name);
		(value === undefined ? this.unmatched : this.matched).add(name);
		return value;
	}
}
