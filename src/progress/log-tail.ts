// The last lines of a process's output as a small terminal shows them: carriage returns overwrite, cursor
// movements move within these few lines, everything else a program may send to a terminal is swallowed.
import { charWidth } from './text-width.js';

/** An escape sequence, CSI in either form, or one that is not complete yet (to the end of the text). */
// eslint-disable-next-line no-control-regex
const sequence = /^(?:(?:\u001b\[|\u009b)([0-?]*)[ -/]*([@-~])|\u001b[\]PX^_][^]*?(?:\u0007|\u001b\\|\u009c)|\u001b[ -/]+[0-~]|\u001b[0-OQ-WYZ\\`-~])/;
/** A longer sequence is taken for garbage. */
const maxSequence = 4096;
const tabStop = 8;
/** Bytes: of a longer piece of output only the end can still be seen. */
const maxWrite = 8192;

export class LogTail {
	readonly #decoder = new TextDecoder();
	#rows: string[][];
	#row = 0;
	#column = 0;
	#saved: readonly [number, number] = [0, 0];
	#incomplete = '';

	constructor(private height: number, private width: number) {
		this.#rows = blank(height);
	}

	/** The lines that show something, top to bottom. */
	lines(): readonly string[] {
		return this.#rows.map((cells) => cells.join('').trimEnd()).filter((line) => line !== '');
	}

	resize(height: number, width: number): void {
		const surplus = Math.max(this.#rows.length - height, 0);
		this.#rows = [...this.#rows.slice(surplus), ...blank(height - this.#rows.length)].map((cells) => cells.slice(0, width));
		this.#row = Math.min(Math.max(this.#row - surplus, 0), height - 1);
		this.#column = Math.min(this.#column, width);
		this.height = height;
		this.width = width;
	}

	write(output: Uint8Array): void {
		const data = output.length > maxWrite ? output.subarray(-maxWrite) : output;
		const text = this.#incomplete + this.#decoder.decode(data, { stream: true });
		this.#incomplete = '';
		for (let at = 0; at < text.length;) {
			const char = String.fromCodePoint(text.codePointAt(at) ?? 0);
			if (char !== '\u001b' && char !== '\u009b') {
				this.#put(char);
				at += char.length;
				continue;
			}
			const rest = text.slice(at, at + maxSequence);
			const match = sequence.exec(rest);
			if (match) {
				if (match[2] !== undefined) this.#obey(match[2], match[1] ?? '');
				at += match[0].length;
			} else if (rest.length < maxSequence) {
				this.#incomplete = rest;
				return;
			} else {
				at++;
			}
		}
	}

	#put(char: string): void {
		switch (char) {
			case '\n': return this.#newline();
			case '\r': this.#column = 0; return;
			case '\b': this.#column = Math.max(this.#column - 1, 0); return;
			case '\t':
				this.#column = Math.min(this.#column + tabStop - (this.#column % tabStop), this.width - 1);
				return;
			default: return this.#show(char);
		}
	}

	#show(char: string): void {
		const width = charWidth(char);
		if (width === 0) {
			const cells = this.#cells();
			const last = cells.length - 1;
			// A combining mark joins what stands before it; control characters show nothing.
			if (last >= 0 && char >= '\u00a0' && this.#column === cells.length) cells[last] += char;
			return;
		}
		if (this.#column + width > this.width) this.#newline();
		const cells = this.#cells();
		while (cells.length < this.#column) cells.push(' ');
		cells[this.#column] = char;
		// The second half of a wide character is a cell that shows nothing.
		if (width === 2) cells[this.#column + 1] = '';
		this.#column += width;
	}

	#cells(): string[] {
		return this.#rows[this.#row] ??= [];
	}

	#newline(): void {
		this.#column = 0;
		if (this.#row < this.height - 1) {
			this.#row++;
			return;
		}
		this.#rows.shift();
		this.#rows.push([]);
	}

	#obey(command: string, parameters: string): void {
		const numbers = parameters.split(';').map((text) => (/^\d{1,4}$/.test(text) ? Number(text) : undefined));
		const [first, second] = numbers;
		const count = Math.max(first ?? 1, 1);
		switch (command) {
			case 'A': return this.#moveTo(this.#row - count, this.#column);
			case 'B': return this.#moveTo(this.#row + count, this.#column);
			case 'C': return this.#moveTo(this.#row, this.#column + count);
			case 'D': return this.#moveTo(this.#row, this.#column - count);
			case 'E': return this.#moveTo(this.#row + count, 0);
			case 'F': return this.#moveTo(this.#row - count, 0);
			case 'G': return this.#moveTo(this.#row, count - 1);
			case 'H':
			case 'f': return this.#moveTo(count - 1, Math.max(second ?? 1, 1) - 1);
			case 'J': return this.#eraseRows(first ?? 0);
			case 'K': return this.#eraseColumns(first ?? 0);
			case 's': this.#saved = [this.#row, this.#column]; return;
			case 'u': return this.#moveTo(...this.#saved);
			default: // colours and all the rest change nothing here
		}
	}

	#moveTo(row: number, column: number): void {
		this.#row = Math.min(Math.max(row, 0), this.height - 1);
		this.#column = Math.min(Math.max(column, 0), this.width - 1);
	}

	#eraseColumns(direction: number): void {
		const cells = this.#cells();
		if (direction === 0) cells.length = Math.min(cells.length, this.#column);
		else if (direction === 1) cells.fill(' ', 0, Math.min(this.#column + 1, cells.length));
		else cells.length = 0;
	}

	#eraseRows(direction: number): void {
		if (direction !== 1) this.#rows.fill([], direction === 0 ? this.#row + 1 : 0);
		if (direction === 1) this.#rows.fill([], 0, this.#row);
		this.#rows = this.#rows.map((cells) => [...cells]);
		this.#eraseColumns(direction);
	}
}

function blank(rows: number): string[][] {
	return Array.from({ length: Math.max(rows, 0) }, () => []);
}
