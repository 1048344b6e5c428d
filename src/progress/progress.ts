// Chooses a display, feeds it, and keeps it from drawing too often.
import tty from 'node:tty';
import type { SolveStatus, VertexWarning } from '../solver/status.js';
import type { Output } from './output.js';
import { PlainDisplay } from './plain.js';
import { rawJson } from './rawjson.js';
import { displayColors } from './colors.js';
import { TtyDisplay } from './tty.js';

/** `auto`: `tty` when the output is a terminal, else `plain`. */
export type ProgressMode = 'auto' | 'plain' | 'tty' | 'rawjson' | 'quiet';

export interface ProgressOptions {
	/** As the user gave it; BUILDKIT_PROGRESS counts where it is `auto`. */
	readonly mode: string;
	readonly output: Output;
	/** The descriptor behind `output`: asked whether it is a terminal, and for its size. */
	readonly fd: number;
	readonly env: Readonly<Record<string, string | undefined>>;
}

export interface Progress {
	readonly mode: Exclude<ProgressMode, 'auto'>;
	update(status: SolveStatus): void;
	/** Draws the last state, with the logs of what failed. Nothing is shown after it. */
	close(): void;
	/** All warnings received. */
	readonly warnings: readonly VertexWarning[];
}

interface Display {
	update(status: SolveStatus): void;
	refresh(): void;
	done(): void;
}

/** Milliseconds: the shortest time between two drawings, and the longest while nothing comes in. */
const minInterval = 100;
const maxInterval = 150;

/** Throws when the mode is unknown, or `tty` and there is no terminal. */
export function openProgress(options: ProgressOptions): Progress {
	const mode = chooseMode(options);
	return new PacedProgress(mode, display(mode, options));
}

function chooseMode({ mode: given, env, fd }: ProgressOptions): Exclude<ProgressMode, 'auto'> {
	const mode = given === 'auto' || given === '' ? env['BUILDKIT_PROGRESS'] || 'auto' : given;
	switch (mode) {
		case 'auto': return tty.isatty(fd) ? 'tty' : 'plain';
		case 'tty':
			if (!tty.isatty(fd)) throw new Error('failed to get console: provided file is not a console');
			return mode;
		case 'plain':
		case 'rawjson':
		case 'quiet':
			return mode;
		default: throw new Error(`invalid progress mode ${mode}`);
	}
}

function display(mode: Exclude<ProgressMode, 'auto'>, { output, fd, env }: ProgressOptions): Display {
	const nothing = (): void => undefined;
	switch (mode) {
		case 'plain': return new PlainDisplay(output);
		case 'tty': return new TtyDisplay(output, { size: terminalSize(fd), colors: displayColors(env), logLines: logLines(env) });
		case 'rawjson': return { update: (status) => { output.write(rawJson(status)); }, refresh: nothing, done: nothing };
		case 'quiet': return { update: nothing, refresh: nothing, done: nothing };
	}
}

function terminalSize(fd: number): () => readonly [number, number] {
	const stream = new tty.WriteStream(fd);
	stream.on('error', () => undefined);
	return () => {
		// Asked anew for every drawing: the user may have changed the window.
		const [columns, rows] = stream.getWindowSize();
		return columns > 0 && rows > 0 ? [columns, rows] : [80, 10];
	};
}

function logLines(env: ProgressOptions['env']): number {
	const lines = Number(env['BUILDKIT_TTY_LOG_LINES']);
	return Number.isInteger(lines) && lines > 0 ? lines : 6;
}

class PacedProgress implements Progress {
	readonly warnings: VertexWarning[] = [];
	#lastDrawn = 0;
	#timer: NodeJS.Timeout | undefined;
	#isClosed = false;

	constructor(readonly mode: Exclude<ProgressMode, 'auto'>, private readonly display: Display) {
		this.#arm();
	}

	update(status: SolveStatus): void {
		if (this.#isClosed) return;
		this.warnings.push(...status.warnings ?? []);
		this.display.update(status);
		if (performance.now() - this.#lastDrawn >= minInterval) this.#draw();
	}

	close(): void {
		if (this.#isClosed) return;
		this.#isClosed = true;
		clearTimeout(this.#timer);
		this.display.done();
	}

	#draw(): void {
		this.#lastDrawn = performance.now();
		this.display.refresh();
		this.#arm();
	}

	/** The timer holds nobody up: a build that is over may end the program. */
	#arm(): void {
		clearTimeout(this.#timer);
		this.#timer = setTimeout(() => { this.#draw(); }, maxInterval).unref();
	}
}
