// Parser directives: `# syntax=`, `# escape=`, `# check=`, in the first lines of a Dockerfile and nowhere else.
import type { Location } from '../errors.js';
import { trimLeft, trimSpace } from '../text/unicode.js';
import { LineScanner } from './scanner.js';

export interface Directive {
	readonly name: string;
	readonly value: string;
	/** From 1. */
	readonly line: number;
}

const known = new Set(['syntax', 'escape', 'check']);
const pattern = /^([a-zA-Z][a-zA-Z0-9]*)[\t\n\f\r ]*=[\t\n\f\r ]*(.+?)[\t\n\f\r ]*$/;

/** Reads directives line by line until the first line that is none. */
export class DirectiveReader {
	private done = false;
	private readonly seen = new Set<string>();

	constructor(private readonly comment = '#', private line = 0) {}

	get ended(): boolean {
		return this.done;
	}

	/** @throws Error when a directive is given twice. */
	read(line: string): Directive | undefined {
		this.line++;
		if (this.done) return undefined;
		const match = line.startsWith(this.comment) ? pattern.exec(trimLeft(line.slice(this.comment.length))) : undefined;
		const name = match?.[1]?.toLowerCase() ?? '';
		if (!match || !known.has(name)) {
			this.done = true;
			return undefined;
		}
		if (this.seen.has(name)) throw new Error(`only one ${name} parser directive can be used`);
		this.seen.add(name);
		return { name, value: match[2] ?? '', line: this.line };
	}
}

export interface FoundDirective {
	/** The value up to the first space. */
	readonly value: string;
	readonly cmdline: string;
	readonly location: Location;
}

function find(name: string, text: string, comment: string, line: number): FoundDirective | undefined {
	const scanner = new LineScanner(text);
	const reader = new DirectiveReader(comment, line);
	try {
		for (let raw = scanner.next(); raw !== undefined && !reader.ended; raw = scanner.next()) {
			const directive = reader.read(raw.replace(/\r?\n$/, ''));
			if (directive?.name !== name) continue;
			return {
				value: directive.value.split(' ', 1)[0] ?? '',
				cmdline: directive.value,
				location: { start: directive.line, end: directive.line },
			};
		}
	} catch {
		// A directive given twice: what came before it was looked at already.
	}
	return undefined;
}

/** The directive `name` of a Dockerfile, if it has one. */
export function findDirective(name: string, text: string): FoundDirective | undefined {
	const [body, line] = withoutShebang(text.replace(/^\ufeff/, ''));
	return find(name, body, '#', line);
}

/** The syntax a file asks for: as a directive, behind `//`, or as a member of a JSON object. */
export function detectSyntax(text: string): FoundDirective | undefined {
	const [body, line] = withoutShebang(text.replace(/^\ufeff/, ''));
	const found = find('syntax', body, '#', line) ?? find('syntax', body, '//', line);
	if (found || !trimSpace(body).startsWith('{')) return found;
	try {
		const value: unknown = (JSON.parse(body) as Record<string, unknown>)['syntax'];
		return typeof value === 'string' ? { value, cmdline: value, location: { start: line, end: line } } : undefined;
	} catch {
		return undefined;
	}
}

function withoutShebang(text: string): [rest: string, lines: number] {
	if (!text.startsWith('#!')) return [text, 0];
	const newline = text.indexOf('\n');
	return [newline < 0 ? '' : text.slice(newline + 1), 1];
}
