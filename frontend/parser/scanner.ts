// The physical lines of a Dockerfile, with their line ends, as Go's bufio.Scanner hands them out.

/** Go's limit: a line (with its end) does not fit when its first 65536 bytes hold no newline. */
const maxLineBytes = 64 * 1024;

export class LineScanner {
	private offset = 0;
	/** Set once a line was too long: the scanner stops there. */
	tooLong = false;

	constructor(private readonly text: string) {}

	/** The next line with its newline; undefined at the end. */
	next(): string | undefined {
		if (this.offset >= this.text.length || this.tooLong) return undefined;
		const newline = this.text.indexOf('\n', this.offset);
		const line = newline < 0 ? this.text.slice(this.offset) : this.text.slice(this.offset, newline + 1);
		const limit = newline < 0 ? maxLineBytes - 1 : maxLineBytes;
		// A character has at most three bytes a UTF-16 unit: most lines need no counting.
		if (line.length * 3 > limit && Buffer.byteLength(line) > limit) {
			this.tooLong = true;
			return undefined;
		}
		this.offset += line.length;
		return line;
	}
}

export const lineTooLong = `dockerfile line greater than max allowed size of ${maxLineBytes - 1}`;

/** Without its line end. */
export function trimNewline(line: string): string {
	return line.replace(/[\r\n]+$/, '');
}
