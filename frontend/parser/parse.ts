// From the text of a Dockerfile to its instructions, not yet understood: names, flags, words, places.
//
// dockerfile-ast is not used here. It is made for editors: it forgives what BuildKit refuses, knows no
// limits of line length, splits flags, JSON and heredocs by rules of its own, and BuildKit's places are whole
// lines, which the line reader has for free. It also takes four times as long to import (20 ms on a quiet
// machine, of 150 for a whole cached build) and three times as long to read 1,000 lines.
import type { Location } from '../errors.js';
import { at, LocationError, withLocation } from '../errors.js';
import { quote } from '../text/format.js';
import { trimLeft, trimSpace } from '../text/unicode.js';
import { DirectiveReader } from './directives.js';
import type { Heredoc } from './heredoc.js';
import { heredocsOf } from './heredoc.js';
import { LineScanner, lineTooLong, trimNewline } from './scanner.js';
import { parseJsonArray, splitCommand, splitWords, whitespace } from './words.js';

/** One instruction as it is written. */
export interface Node {
	/** As written: `RUN`, `run`. */
	readonly name: string;
	readonly flags: readonly string[];
	/** Name, value and delimiter in turn for ENV and LABEL; the inner instruction and its arguments for ONBUILD. */
	readonly args: readonly string[];
	/** Whether the arguments were a JSON array. */
	readonly json: boolean;
	readonly heredocs: readonly Heredoc[];
	/** The whole logical line. */
	readonly original: string;
	readonly location: Location;
	/** Comment lines right above. */
	readonly comments: readonly string[];
}

export interface ParsedFile {
	readonly nodes: readonly Node[];
	readonly escape: string;
	/** Lines at which an instruction with an empty continuation line ends. */
	readonly emptyContinuations: readonly number[];
}

const withHeredocs = new Set(['add', 'copy', 'run']);

interface Arguments {
	readonly args: readonly string[];
	readonly json?: boolean;
}

function jsonOr(text: string, otherwise: (text: string) => readonly string[]): Arguments {
	const json = parseJsonArray(text);
	return json ? { args: json, json: true } : { args: otherwise(text) };
}

const oneString = (text: string): readonly string[] => (text === '' ? [] : [text]);
const byWhitespace = (text: string): readonly string[] => (text === '' ? [] : text.split(whitespace));

/** `KEY=value ...`, or the old `KEY value`. */
function keyValues(text: string, name: string, escape: string): readonly string[] {
	const words = splitWords(text, escape);
	const [first] = words;
	if (first === undefined) return [];
	if (!first.includes('=')) {
		const gap = whitespace.exec(text);
		if (!gap) throw new Error(`${name} must have two arguments`);
		return [text.slice(0, gap.index), text.slice(gap.index + gap[0].length), ''];
	}
	return words.flatMap((word) => {
		const equals = word.indexOf('=');
		if (equals < 0) throw new Error(`Syntax error - can't find = in ${quote(word)}. Must be of the form: name=value`);
		return [word.slice(0, equals), word.slice(equals + 1), '='];
	});
}

function healthcheck(text: string): Arguments {
	const match = /^(\S+)\s*([^]*)$/.exec(text);
	if (!match) return { args: [] };
	const command = jsonOr(match[2] ?? '', oneString);
	return { ...command, args: [match[1] ?? '', ...command.args] };
}

function parseArguments(name: string, text: string, escape: string): Arguments {
	switch (name) {
		case 'add': case 'copy': case 'volume': return jsonOr(text, byWhitespace);
		case 'cmd': case 'entrypoint': case 'run': case 'shell': return jsonOr(text, oneString);
		case 'arg': return { args: splitWords(text, escape) };
		case 'env': return { args: keyValues(text, 'ENV', escape) };
		case 'label': return { args: keyValues(text, 'LABEL', escape) };
		case 'expose': case 'from': return { args: byWhitespace(text) };
		case 'healthcheck': return healthcheck(text);
		case 'maintainer': case 'stopsignal': case 'user': case 'workdir': return { args: oneString(text) };
		default: return { args: [] };
	}
}

interface Instruction {
	readonly name: string;
	readonly flags: readonly string[];
	readonly args: readonly string[];
	readonly json: boolean;
	/** Of an ONBUILD. */
	readonly inner?: Instruction;
}

function parseInstruction(line: string, escape: string): Instruction {
	const { name, flags, args: text } = splitCommand(line, escape);
	if (name.toLowerCase() === 'onbuild') {
		if (text === '') return { name, flags, args: [], json: false };
		const inner = parseInstruction(text, escape);
		return { name, flags, args: [inner.name, ...inner.args], json: false, inner };
	}
	const { args, json } = parseArguments(name.toLowerCase(), text, escape);
	return { name, flags, args, json: json ?? false };
}

function takesHeredocs({ name, json, inner }: Instruction): boolean {
	const last = name.toLowerCase() === 'onbuild' && inner ? inner : { name, json };
	return withHeredocs.has(last.name.toLowerCase()) && !last.json;
}

function isComment(line: string): boolean {
	return trimLeft(line).startsWith('#');
}

class Parser {
	private readonly scanner: LineScanner;
	private readonly directives = new DirectiveReader();
	private escape = '\\';
	/** Number of the line read last. */
	private line = 0;
	private comments: string[] = [];
	private readonly nodes: Node[] = [];
	private readonly emptyContinuations: number[] = [];

	constructor(text: string) {
		this.scanner = new LineScanner(text.replace(/^\ufeff/, ''));
	}

	parse(): ParsedFile {
		for (let raw = this.scanner.next(); raw !== undefined; raw = this.scanner.next()) {
			const logical = this.logicalLine(raw);
			if (logical !== undefined) this.addNode(logical.text, logical.start);
		}
		if (this.nodes.length === 0) throw this.error('file with no instructions');
		if (this.scanner.tooLong) throw this.error(lineTooLong);
		return { nodes: this.nodes, escape: this.escape, emptyContinuations: this.emptyContinuations };
	}

	private error(message: string): LocationError {
		return new LocationError(message, [{ start: this.line, end: this.line }]);
	}

	/** Joins continued lines, without comments; undefined for a line that holds no instruction. */
	private logicalLine(raw: string): { text: string; start: number } | undefined {
		const first = this.cleanLine(raw, true);
		this.line++;
		const start = this.line;
		let { text, continued } = this.trimContinuation(first);
		if (!continued && text === '') return undefined;
		let hasEmptyLine = false;
		while (continued) {
			const next = this.scanner.next();
			if (next === undefined) break;
			const line = this.cleanLine(next, false);
			this.line++;
			if (isComment(next)) continue;
			if (trimLeft(line) === '') {
				hasEmptyLine = true;
				continue;
			}
			const trimmed = this.trimContinuation(line);
			text += trimmed.text;
			continued = trimmed.continued;
		}
		if (hasEmptyLine) this.emptyContinuations.push(this.line);
		return { text, start };
	}

	/** A line without its end, nothing for a comment; a directive takes effect. */
	private cleanLine(raw: string, first: boolean): string {
		const line = first ? trimLeft(trimNewline(raw)) : trimNewline(raw);
		const comment = isComment(raw);
		const directive = this.readDirective(line);
		if (first && comment && !directive) {
			// As in BuildKit the first byte goes, whatever it is.
			const text = trimSpace(trimNewline(raw).slice(1));
			if (text === '') this.comments = [];
			else this.comments.push(text);
		}
		return isComment(line) ? '' : line;
	}

	private readDirective(line: string): boolean {
		// Directives are counted from the line before the one they are on.
		return at({ start: this.line, end: this.line }, () => {
			const directive = this.directives.read(line);
			if (directive?.name !== 'escape') return directive !== undefined;
			if (directive.value !== '\\' && directive.value !== '`') {
				throw new Error(`invalid escape token '${directive.value}' does not match \` or \\`);
			}
			this.escape = directive.value;
			return true;
		});
	}

	/** Takes the escape at the end of a continued line away. One that is itself escaped does not count. */
	private trimContinuation(line: string): { text: string; continued: boolean } {
		let end = line.length;
		while (end > 0 && (line[end - 1] === ' ' || line[end - 1] === '\t')) end--;
		const continued = end > 0 && line[end - 1] === this.escape && line[end - 2] !== this.escape;
		return { text: continued ? line.slice(0, end - 1) : line, continued };
	}

	private addNode(text: string, start: number): void {
		const { comments } = this;
		const node = this.located(start, (): Node => {
			const instruction = parseInstruction(text, this.escape);
			const announced = takesHeredocs(instruction) && text.includes('<<') ? heredocsOf(text) : [];
			const heredocs = announced.map((heredoc) => this.readHeredoc(heredoc));
			const { name, flags, args, json } = instruction;
			return { name, flags, args, json, heredocs, original: text, location: { start, end: this.line }, comments };
		});
		this.nodes.push(node);
		this.comments = [];
	}

	/** Errors get the lines read so far. */
	private located<T>(start: number, action: () => T): T {
		try {
			return action();
		} catch (error) {
			throw withLocation(error, { start, end: this.line });
		}
	}

	private readHeredoc(heredoc: Heredoc): Heredoc {
		let content = '';
		for (let raw = this.scanner.next(); raw !== undefined; raw = this.scanner.next()) {
			this.line++;
			const line = trimNewline(raw);
			if ((heredoc.chomp ? line.replace(/^\t+/, '') : line) === heredoc.name) return { ...heredoc, content };
			content += raw;
		}
		throw new Error('unterminated heredoc');
	}
}

/**
 * Reads a Dockerfile.
 * @throws LocationError with BuildKit's text.
 */
export function parse(text: string): ParsedFile {
	return new Parser(text).parse();
}

